// Decoding of any setting in plain C++. What PlanePass needs for it: planes of a stream to lanes,
// and lanes back to words, several blocks side by side, the reverse of what planes.h does with
// them.

#pragma once

#include "ebpc/kernels/generic/jobs.h"
#include "ebpc/kernels/generic/plane_pass.h"
#include "ebpc/kernels/generic/plane_syntax.h"
#include "ebpc/kernels/generic/planes.h"
#include "ebpc/kernels/generic/zero_masks.h"
#include "ebpc/parameters.h"

namespace ebpc::EBPC_KERNEL {
namespace {

/// X of planes by their codes of 8 bits, each one bit too far to the left: uncompressed, or one or
/// two ones. Code 0 stands for a zero plane. Where an index is past the end of the plane, the
/// lowest bit is set.
inline Qwords doubled_x_of_eights(Qwords codes) {
  constexpr std::uint64_t every_byte = lane_ones<8>;
  const auto mask_of = [codes](std::uint8_t bit) {
    const Vector<std::uint8_t> bits = vector_cast<std::uint8_t>(codes) & bit;
    return vector_cast<std::uint64_t>(is_equal(bits, all_elements(bit)));
  };
  // One or two ones, shifted to their place.
  Qwords x = (~codes & 8 * every_byte) << 3 | 0x80 * every_byte;
  for (int step = 0; step < 3; ++step) {
    const auto bit = static_cast<std::uint8_t>(1 << step);
    const Qwords moved = x >> bit & (0xFF >> bit) * every_byte;
    x ^= (x ^ moved) & mask_of(bit);
  }
  const Qwords is_raw = mask_of(0x80);
  const Qwords raw = codes << 1 & 0xFE * every_byte;
  return (raw & is_raw) | (x & mask_of(0x10) & ~is_raw);
}

/// Copies rows of uncompressed planes, as many as a window and a qword of lanes hold.
template <class Syntax>
class PlaneRows {
 public:
  using Group = typename Syntax::Group;
  static constexpr int lane_bits = Group::lane_bits;

  explicit PlaneRows(const Syntax& s)
      : planes(min(64 / lane_bits, static_cast<std::size_t>(57 / (1 + s.sizes.plane_bits)))),
        raw_bits_(static_cast<unsigned>(1 + s.sizes.plane_bits)),
        inverse_((1U << 16) / raw_bits_ + 1) {
    for (unsigned i = 0; i < planes; ++i) {
      prefixes_ |= std::uint64_t{1} << (63 - i * raw_bits_);
      plane_bits_ |= low_bits(s.sizes.plane_bits) << (64 - (i + 1) * raw_bits_);
      lane_planes_ |= low_bits(s.sizes.plane_bits) << (64 - (i + 1) * lane_bits);
    }
    stop_ = std::uint64_t{1} << (63 - planes * raw_bits_);
    if (lane_bits == 64) planes = 1;
  }

  std::size_t planes;  // of a row, at most

  /// The bits of the planes and their prefixes.
  using Row = unsigned;
  std::uint64_t count(Row row) const {
    return Syntax::eights ? row / 8 : lane_bits == 64 ? row : row * inverse_ >> 16;
  }

  [[gnu::always_inline]] Row copy(const std::uint8_t* from, std::uint64_t shift,
                                  std::uint8_t* to) const {
    const std::uint64_t first = window(from, shift);
    if constexpr (lane_bits == 64) {
      const std::uint64_t at = shift + 1;
      const std::uint64_t plane = window(from, at) | from[at / 8 + 8] >> (8 - at % 8);
      store_big_endian(to, plane >> (65 - raw_bits_));
      return static_cast<Row>(first >> 63);
    } else {
      // Codes of 8 bits start with 1 or 0001.
      const std::uint64_t is_raw =
          Syntax::eights ? first | (~(first << 1 | first << 2) & first << 3) : first;
      const unsigned row = leading_zeros((~is_raw & prefixes_) | stop_);
      store_big_endian(to, lanes_of(first));
      return row;
    }
  }

 private:
  /// Planes with their prefixes to lanes.
  [[gnu::always_inline]] std::uint64_t lanes_of(std::uint64_t raw) const {
    if constexpr (Syntax::eights) return raw;
#ifdef __BMI2__
    return __builtin_ia32_pdep_di(__builtin_ia32_pext_di(raw, plane_bits_), lane_planes_);
#else
    if (raw_bits_ == lane_bits) return raw & ~prefixes_;
    std::uint64_t lanes = 0;
    for (unsigned i = 0; i < planes; ++i, raw <<= raw_bits_)
      lanes |= raw << 1 >> (65 - raw_bits_) << (64 - (i + 1) * lane_bits);
    return lanes;
#endif
  }

  unsigned raw_bits_;
  unsigned inverse_;
  std::uint64_t prefixes_ = 0;     // their first bits, from the top
  std::uint64_t stop_ = 0;         // the bit after them
  std::uint64_t plane_bits_ = 0;   // all their other bits
  std::uint64_t lane_planes_ = 0;  // where these go
};

/// Turns the planes of a stream's blocks into words.
template <class Syntax>
class PlaneWords {
 public:
  using Group = typename Syntax::Group;
  using Word = typename Group::Word;
  static constexpr std::size_t blocks_at_once = Group::blocks;

  explicit PlaneWords(const Parameters& p)
      : block_size_(p.block_size), is_signed_(p.is_signed), word_bits_(p.word_bits) {}

  /// Decodes blocks; bases[i] is the first word of block i, if it was sent. False if a code is
  /// malformed.
  bool decode(const std::uint8_t* planes, const Word* bases, std::size_t block_count,
              Word* words) const {
    Qwords malformed{};
    Word last = 0;
    for (std::size_t b = 0; b < block_count; b += Group::blocks) {
      const std::size_t count = min(block_count - b, Group::blocks);
      decode_some(planes + b * Group::block_bytes, bases + b, count,
                  words + b * static_cast<std::size_t>(block_size_), last, malformed);
    }
    return !is_any(malformed & lane_ones<8>);
  }

 private:
  static constexpr int qword_words = 8 / sizeof(Word);
  static constexpr int word_bits = 8 * sizeof(Word);
  static constexpr int word_qwords = Group::slots / qword_words;  // of a block's words

  /// `count` blocks, at most as many as a vector has.
  void decode_some(const std::uint8_t* planes, const Word* bases, std::size_t count, Word* words,
                   Word& last, Qwords& malformed) const {
    Qwords dbp[Group::qwords];
    load_planes(planes, dbp, malformed);
    Qwords bytes[sizeof(Word)][Group::groups];
    for (std::size_t k = 0; k < sizeof(Word); ++k) {
      Qwords columns[Group::groups];
      Group::gather(dbp + k * 8 / Group::lanes, columns);
      for (int group = 0; group < Group::groups; ++group)
        bytes[k][group] = antitranspose(columns[group]);
    }
    Qwords sums[word_qwords];
    for (int group = 0; group < Group::groups; ++group)
      words_from_bytes(bytes, group, sums + group * static_cast<int>(sizeof(Word)));
    add_up(sums);

    alignas(vector_bytes) Word blocks[Group::blocks][Group::slots];
    if constexpr (Syntax::base_sent) {
      Qwords start{};
      for (std::size_t i = 0; i < count; ++i)
        start[i] = std::uint64_t{bases[i]} * lane_ones<word_bits>;
      store_words(sums, start, blocks);
    } else {
      Qwords start{};
      Word word = last;
      for (std::size_t i = 0; i < count; ++i) {
        start[i] = std::uint64_t{word} * lane_ones<word_bits>;
        word = static_cast<Word>(word + (sums[word_qwords - 1][i] >> (64 - word_bits)));
      }
      last = word;
      store_words(sums, start, blocks);
    }
    for (std::size_t i = 0; i < count; ++i, words += block_size_) {
      if (block_size_ == Group::slots) {
        std::memcpy(words, blocks[i], sizeof blocks[i]);
      } else {
        std::memcpy(words, blocks[i] + Group::slots - block_size_,
                    static_cast<std::size_t>(block_size_) * sizeof(Word));
      }
    }
  }

  /// Loads XORed planes and takes the XOR back.
  static void load_planes(const std::uint8_t* planes, Qwords (&dbp)[Group::qwords],
                          Qwords& malformed) {
    for (int q = 0; q < Group::qwords; ++q) {
      Qwords x{};
      for (std::size_t i = 0; i < Group::blocks; ++i)
        x[i] = load_big_endian(planes + i * Group::block_bytes + 8 * q);
      if constexpr (Syntax::eights) {
        x = doubled_x_of_eights(x);
        malformed |= x;
        x >>= 1;
      }
      if (q > 0) x ^= dbp[q - 1] << (64 - Group::lane_bits);
      for (int shift = Group::lane_bits; shift < 64; shift *= 2) x ^= x >> shift;
      dbp[q] = x;
    }
  }

  /// 8 words of which byte k is in bytes[k][group], the first one least significant.
  static void words_from_bytes(const Qwords (&bytes)[sizeof(Word)][Group::groups], int group,
                               Qwords* words) {
    if constexpr (sizeof(Word) == 1) {
      words[0] = bytes[0][group];
    } else {
      for (int q = 0; q < static_cast<int>(sizeof(Word)); ++q) {
        words[q] = Qwords{};
        for (std::size_t k = 0; k < sizeof(Word); ++k) {
          words[q] |= spread_bytes(bytes[k][group] >> (q * 8 * qword_words)) << (8 * k);
        }
      }
    }
  }

  /// The lowest bytes to words.
  static Qwords spread_bytes(Qwords x) {
    if constexpr (sizeof(Word) == 2) {
      x &= 0xFFFFFFFF;
      x = (x | x << 16) & 0x0000FFFF0000FFFF;
      return (x | x << 8) & 0x00FF00FF00FF00FF;
    } else {
      return (x & 0xFF) | (x & 0xFF00) << 24;
    }
  }

  /// Every word becomes the sum of those up to it.
  static void add_up(Qwords (&sums)[word_qwords]) {
    for (int q = 0; q < word_qwords; ++q) {
      Qwords x = sums[q];
      if (q > 0) x = add(x, sums[q - 1] >> (64 - word_bits));
      for (int shift = word_bits; shift < 64; shift *= 2) x = add(x, x << shift);
      sums[q] = x;
    }
  }

  static Qwords add(Qwords a, Qwords b) {
    return vector_cast<std::uint64_t>(vector_cast<Word>(a) + vector_cast<Word>(b));
  }

  void store_words(const Qwords (&sums)[word_qwords], Qwords start,
                   Word (&blocks)[Group::blocks][Group::slots]) const {
    for (int q = 0; q < word_qwords; ++q) {
      Qwords x = add(sums[q], start);
      if ((Group::planes - word_bits_) > 0) x = extend(x);
      for (std::size_t i = 0; i < Group::blocks; ++i)
        store_qword(blocks[i] + q * qword_words, x[i]);
    }
  }

  /// Words of fewer bits to their type.
  Qwords extend(Qwords x) const {
    const Vector<Word> left = vector_cast<Word>(x) << (Group::planes - word_bits_);
    if (!is_signed_) return vector_cast<std::uint64_t>(left >> (Group::planes - word_bits_));
    using Signed = std::make_signed_t<Word>;
    return vector_cast<std::uint64_t>(vector_cast<Signed>(left) >> (Group::planes - word_bits_));
  }

  static void store_qword(Word* to, std::uint64_t x) {
    if constexpr (std::endian::native == std::endian::little) {
      std::memcpy(to, &x, sizeof x);
    } else {
      for (int i = 0; i < qword_words; ++i) to[i] = static_cast<Word>(x >> (i * word_bits & 63));
    }
  }

  int block_size_;
  bool is_signed_;
  int word_bits_;
};

/// Decodes jobs of any setting but those with planes of 64 bits, as Kernel::decode.
std::size_t decode_any(const Parameters& p, std::span<const DecodeJob> jobs) {
  const auto decode = [&]<class Syntax>(Syntax*) {
    using Planes = PlanePass<Syntax, PlaneRows<Syntax>, PlaneWords<Syntax>>;
    return decode_with<ZeroTurns, Planes>(p, jobs);
  };
  return visit_group<PlaneGroup>(
      jobs.front().words.bytes_per_word, p.block_size, [&]<class Group>(Group*) {
        if (p.base == Base::reused)
          return decode(static_cast<PlaneSyntax<Group, false, false>*>(nullptr));
        if constexpr (Group::slots == 8) {
          if (p.block_size == 8)
            return decode(static_cast<PlaneSyntax<Group, true, true>*>(nullptr));
        }
        return decode(static_cast<PlaneSyntax<Group, true, false>*>(nullptr));
      });
}

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
