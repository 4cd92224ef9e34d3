// Words and their parts: symbols, which are a word's upper bits, and the bits below them.
//
// A word is first made unsigned, in an order that suits it: as integers are ordered, or with the
// sign of a floating-point number after its other bits. Symbols count from the least of a segment.
//
// Plain C++, compiled once for every instruction set that includes it: kernels/generic/vectors.h
// says how.

#pragma once

#include <type_traits>

#include "ebpc/bit_stream.h"
#include "ebpc/kernels/generic/vectors.h"
#ifdef __BMI2__
#include <immintrin.h>
#endif

namespace ebpc::EBPC_KERNEL {
namespace {

constexpr std::size_t most_words = 4096;  // of a segment

struct Split {
  unsigned low_bits = 0;    // below the symbol
  bool sign_last = false;   // of a word; else its order is that of integers
  std::uint32_t first = 0;  // what the symbol 0 stands for
};

template <class Word>
constexpr std::size_t split_bytes = 1 + sizeof(Word);

template <class Word>
[[gnu::always_inline]] inline Word flipped(Word word, bool is_signed) {
  return static_cast<Word>(word ^ (is_signed ? Word{1} << (8 * sizeof(Word) - 1) : Word{0}));
}
template <class Word>
[[gnu::always_inline]] inline Word sign_to_end(Word word) {
  return static_cast<Word>(word << 1 | word >> (8 * sizeof(Word) - 1));
}
template <class Word>
[[gnu::always_inline]] inline Word sign_to_front(Word word) {
  return static_cast<Word>(word >> 1 | word << (8 * sizeof(Word) - 1));
}

/// The low `bits` bits of eight bytes side by side, the first byte's lowest.
[[gnu::always_inline]] inline std::uint64_t join_fields(std::uint64_t bytes, unsigned bits) {
#ifdef __BMI2__
  return _pext_u64(bytes, lane_ones<8> * EBPC_KERNEL::low_bits(static_cast<int>(bits)));
#else
  const auto join = [](std::uint64_t x, std::uint64_t even, unsigned lane, unsigned field) {
    return (x & even) | (x >> lane & even) << field;
  };
  bytes &= lane_ones<8> * EBPC_KERNEL::low_bits(static_cast<int>(bits));
  bytes = join(bytes, 0x00FF00FF00FF00FF, 8, bits);
  bytes = join(bytes, 0x0000FFFF0000FFFF, 16, 2 * bits);
  return join(bytes, 0x00000000FFFFFFFF, 32, 4 * bits);
#endif
}

/// The reverse.
[[gnu::always_inline]] inline std::uint64_t spread_fields(std::uint64_t x, unsigned bits) {
#ifdef __BMI2__
  return _pdep_u64(x, lane_ones<8> * EBPC_KERNEL::low_bits(static_cast<int>(bits)));
#else
  const auto spread = [](std::uint64_t y, std::uint64_t ones, unsigned lane, unsigned field) {
    const std::uint64_t low = ones * EBPC_KERNEL::low_bits(static_cast<int>(field));
    return (y & low) | (y >> field & low) << lane;
  };
  x = spread(x, 1, 32, 4 * bits);
  x = spread(x, lane_ones<32>, 16, 2 * bits);
  return spread(x, lane_ones<16>, 8, bits);
#endif
}

constexpr std::size_t packed_bytes(std::size_t count, unsigned bits) {
  return (count * bits + 7) / 8;
}

/// The bytes of the bits below the symbols.
constexpr std::size_t low_bytes_of(std::size_t count, const Split& split) {
  return split.low_bits / 8 * count + packed_bytes(count, split.low_bits % 8);
}

/// Packs `count` bytes of `bits` bits; up to 7 bytes after them are read and up to 8 after the
/// end written. Returns the end.
inline std::uint8_t* pack_fields(const std::uint8_t* fields, std::size_t count, unsigned bits,
                                 std::uint8_t* out) {
  std::size_t i = 0;
  std::uint8_t* at = out;
  for (; i + 8 <= count; i += 8, at += bits) {
    store_little_endian(at, join_fields(load_little_endian(fields + i), bits));
  }
  if (i < count) {
    std::uint8_t last[8] = {};
    std::memcpy(last, fields + i, count - i);
    store_little_endian(at, join_fields(load_little_endian(last), bits));
  }
  return out + packed_bytes(count, bits);
}

/// Unpacks them; up to 7 bytes after the fields are written. False if there is padding that is not
/// zero.
inline bool unpack_fields(const std::uint8_t* from, std::size_t count, unsigned bits,
                          std::uint8_t* fields) {
  const std::size_t bytes = packed_bytes(count, bits);
  std::size_t i = 0;
  std::size_t at = 0;
  for (; i < count && at + 8 <= bytes; i += 8, at += bits) {
    store_little_endian(fields + i, spread_fields(load_little_endian(from + at), bits));
  }
  for (; i < count; i += 8, at += bits) {
    std::uint8_t last[8] = {};
    std::memcpy(last, from + at, bytes - at < 8 ? bytes - at : 8);
    store_little_endian(fields + i, spread_fields(load_little_endian(last), bits));
  }
  return count * bits % 8 == 0 || from[bytes - 1] >> (count * bits % 8) == 0;
}

/// Puts `count` words into the order of a split.
template <class Word>
void order_words(const Word* words, std::size_t count, bool sign_last, bool is_signed, Word* out) {
  if (sign_last) {
    for (std::size_t i = 0; i < count; ++i) out[i] = sign_to_end(words[i]);
  } else {
    for (std::size_t i = 0; i < count; ++i) out[i] = flipped(words[i], is_signed);
  }
}

template <class Word>
struct WordRange {
  Word low;
  Word high;
  Word width() const { return static_cast<Word>(high - low); }
};

template <class Word>
WordRange<Word> range_of(const Word* words, std::size_t count) {
  WordRange<Word> range{words[0], words[0]};
  for (std::size_t i = 0; i < count; ++i) {
    range.low = words[i] < range.low ? words[i] : range.low;
    range.high = words[i] > range.high ? words[i] : range.high;
  }
  return range;
}

/// The symbols of ordered words.
template <class Word>
void symbols_of(const Word* ordered, std::size_t count, const Split& split, std::uint8_t* symbols) {
  const auto first = static_cast<Word>(split.first);
  for (std::size_t i = 0; i < count; ++i) {
    symbols[i] = static_cast<std::uint8_t>((ordered[i] >> split.low_bits) - first);
  }
}

/// Writes the bits below the symbols: whole bytes, the least significant first, each of all words,
/// and then what is left. Up to 8 bytes after the end are written. Returns the end.
template <class Word>
std::uint8_t* write_low_bits(const Word* ordered, std::size_t count, const Split& split,
                             std::uint8_t* out) {
  unsigned shift = 0;
  for (; shift + 8 <= split.low_bits; shift += 8, out += count) {
    for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<std::uint8_t>(ordered[i] >> shift);
  }
  if (shift == split.low_bits) return out;
  std::uint8_t fields[most_words + 8];
  for (std::size_t i = 0; i < count; ++i) {
    fields[i] = static_cast<std::uint8_t>(ordered[i] >> shift);
  }
  return pack_fields(fields, count, split.low_bits - shift, out);
}

/// Makes words of symbols and the bits below. False if there is padding that is not zero.
template <class Word>
bool join_words(const std::uint8_t* symbols, const std::uint8_t* low, std::size_t count,
                const Split& split, bool is_signed, Word* __restrict words) {
  std::uint8_t fields[most_words + 8];
  const unsigned planes = split.low_bits / 8;
  const unsigned bits = split.low_bits % 8;
  const std::uint8_t* const packed = low + planes * count;
  const bool fits = bits == 0 || unpack_fields(packed, count, bits, fields);
  const std::uint8_t* const last = bits == 0 ? symbols : fields;  // unused where 0
  const Word mask = bits == 0 ? Word{0} : static_cast<Word>(~Word{0});
  const auto first = static_cast<Word>(split.first);
  const auto join = [&](auto low_bits_of) {
    const auto ordered = [&](std::size_t i) {
      const auto symbol = static_cast<Word>(symbols[i] + first);
      const auto last_bits = static_cast<Word>(static_cast<Word>(last[i]) << 8 * planes & mask);
      return static_cast<Word>(static_cast<Word>(symbol << split.low_bits) | last_bits |
                               low_bits_of(i));
    };
    if (split.sign_last) {
      for (std::size_t i = 0; i < count; ++i) words[i] = sign_to_front(ordered(i));
    } else {
      for (std::size_t i = 0; i < count; ++i) words[i] = flipped(ordered(i), is_signed);
    }
  };
  const std::uint8_t* const second = low + count;
  const std::uint8_t* const third = second + count;
  if (sizeof(Word) == 1 || planes == 0) {
    join([](std::size_t) { return Word{0}; });
  } else if (sizeof(Word) == 2 || planes == 1) {
    join([&](std::size_t i) { return Word{low[i]}; });
  } else if (planes == 2) {
    join([&](std::size_t i) { return static_cast<Word>(low[i] | Word{second[i]} << 8); });
  } else {
    join([&](std::size_t i) {
      return static_cast<Word>(low[i] | Word{second[i]} << 8 | std::uint32_t{third[i]} << 16);
    });
  }
  return fits;
}

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
