// The plane stream: the non-zero words, delta coded, cut into bit planes, XORed and mapped to a
// prefix code (bit-plane compression: Kim et al., ISCA 2016; JETCAS 2019, section III-B and table
// I).

#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "ebpc/bit_stream.h"
#include "ebpc/parameters.h"

namespace ebpc {

/// The two prefixes in which EBPC differs from plain bit-plane compression. All others are shared.
struct PlaneCodes {
  struct Prefix {
    std::uint8_t code;
    std::uint8_t bits;
  };
  Prefix zero_run;     // two or more zero planes; a length field of log2_ceil(W) bits follows
  Prefix single_zero;  // one zero plane
};

inline constexpr PlaneCodes ebpc_codes{{0b001, 3}, {0b01, 2}};
inline constexpr PlaneCodes isca2016_codes{{0b01, 2}, {0b001, 3}};

inline constexpr int short_prefix_bits = 5;
inline constexpr std::uint8_t prefix_all_ones = 0b00000;
inline constexpr std::uint8_t prefix_plane_zero = 0b00001;
inline constexpr std::uint8_t prefix_two_ones = 0b00010;
inline constexpr std::uint8_t prefix_single_one = 0b00011;

/// Transposes 8 x 8 bits: rows are bytes, the first row and column the most significant.
constexpr std::uint64_t transpose_8x8(std::uint64_t x) {
  std::uint64_t t = (x ^ (x >> 7)) & 0x00AA00AA00AA00AA;
  x ^= t ^ (t << 7);
  t = (x ^ (x >> 14)) & 0x0000CCCC0000CCCC;
  x ^= t ^ (t << 14);
  t = (x ^ (x >> 28)) & 0x00000000F0F0F0F0;
  return x ^ t ^ (t << 28);
}

/// Transposes 8 x 8 bits about the other diagonal: bit 7 - i of byte 7 - p, counted from the least
/// significant ones, goes to bit p of byte i.
constexpr std::uint64_t antitranspose_8x8(std::uint64_t x) {
  std::uint64_t t = (x ^ (x >> 9)) & 0x0055005500550055;
  x ^= t ^ (t << 9);
  t = (x ^ (x >> 18)) & 0x0000333300003333;
  x ^= t ^ (t << 18);
  t = (x ^ (x >> 36)) & 0x000000000F0F0F0F;
  return x ^ t ^ (t << 36);
}

using BlockDeltas = std::array<std::uint64_t, max_block_size>;  // each in its low W + 1 bits
using BlockPlanes = std::array<std::uint64_t, 8 * 5>;  // W + 1 <= 33 planes, rounded up to bytes

/// Bit p of every delta becomes plane p, the first delta its most significant bit (DBP).
inline void planes_from_deltas(const BlockDeltas& deltas, int delta_count, int planes,
                               BlockPlanes& out) {
  const int groups = (delta_count + 7) / 8;
  for (int low = 0; low < planes; low += 8) {
    for (int i = 0; i < 8; ++i) out[static_cast<std::size_t>(low + i)] = 0;
    for (int group = 0; group < groups; ++group) {
      std::uint64_t rows = 0;
      for (int i = 8 * group; i < 8 * group + 8; ++i) {
        const std::uint64_t delta = i < delta_count ? deltas[static_cast<std::size_t>(i)] : 0;
        rows = rows << 8 | (delta >> low & 0xFF);
      }
      const std::uint64_t columns = transpose_8x8(rows);
      for (int i = 0; i < 8; ++i) {
        auto& plane = out[static_cast<std::size_t>(low + i)];
        plane = plane << 8 | (columns >> (8 * i) & 0xFF);
      }
    }
    for (int i = 0; i < 8; ++i) out[static_cast<std::size_t>(low + i)] >>= 8 * groups - delta_count;
  }
}

/// The reverse of planes_from_deltas; planes above `planes` are taken as zero.
inline void deltas_from_planes(const BlockPlanes& planes_in, int delta_count, int planes,
                               BlockDeltas& out) {
  const int groups = (delta_count + 7) / 8;
  const int unused = 8 * groups - delta_count;
  for (int group = 0; group < groups; ++group) {
    std::array<std::uint64_t, 8> deltas{};
    for (int low = 0; low < planes; low += 8) {
      std::uint64_t columns = 0;
      for (int i = 7; i >= 0; --i) {
        const std::uint64_t plane =
            low + i < planes ? planes_in[static_cast<std::size_t>(low + i)] << unused : 0;
        columns = columns << 8 | (plane >> (8 * (groups - 1 - group)) & 0xFF);
      }
      const std::uint64_t rows = transpose_8x8(columns);
      for (int i = 0; i < 8; ++i) {
        deltas[static_cast<std::size_t>(i)] |= (rows >> (8 * (7 - i)) & 0xFF) << low;
      }
    }
    for (int i = 0; i < 8; ++i) {
      out[static_cast<std::size_t>(8 * group + i)] = deltas[static_cast<std::size_t>(i)];
    }
  }
}

/// The code of a plane whose X is not zero, and which is not zero itself, where a plane has at most
/// 8 bits: by X, whose first bit is the most significant.
struct PlaneSymbol {
  std::uint16_t code;
  std::uint8_t bits;
};
using PlaneSymbols = std::array<PlaneSymbol, 256>;

inline constexpr int max_small_block_size = 8;

constexpr PlaneSymbols make_plane_symbols(int block_size, int plane_bits) {
  const int index_bits = log2_ceil(static_cast<std::uint32_t>(block_size));
  PlaneSymbols symbols{};
  for (unsigned x = 1; x < 1U << plane_bits; ++x) {
    const int first_one = plane_bits - static_cast<int>(std::bit_width(x));
    const bool pair = x == (3U << plane_bits >> (2 + first_one)) && std::popcount(x) == 2;
    unsigned code = 1U << plane_bits | x;
    int bits = 1 + plane_bits;
    if (x == (1U << plane_bits) - 1) {
      code = prefix_all_ones;
      bits = short_prefix_bits;
    } else if (pair || std::has_single_bit(x)) {
      const unsigned prefix = pair ? prefix_two_ones : prefix_single_one;
      code = prefix << index_bits | static_cast<unsigned>(first_one);
      bits = short_prefix_bits + index_bits;
    }
    symbols[x << (8 - plane_bits)] = {static_cast<std::uint16_t>(code),
                                      static_cast<std::uint8_t>(bits)};
  }
  return symbols;
}

/// small_plane_symbols[block_size][base]
inline constexpr auto small_plane_symbols = [] {
  std::array<std::array<PlaneSymbols, 2>, max_small_block_size + 1> symbols{};
  for (int n = min_block_size; n <= max_small_block_size; ++n) {
    for (const Base base : {Base::sent, Base::reused}) {
      symbols[static_cast<std::size_t>(n)][static_cast<std::size_t>(base)] =
          make_plane_symbols(n, plane_bits({.block_size = n, .base = base}));
    }
  }
  return symbols;
}();

/// Symbols of 8 bits of blocks of 8 words behind a sent base, by X; 0 for the X that have others.
inline constexpr auto long_symbols = [] {
  std::array<std::uint8_t, 256> symbols{};
  for (std::size_t x = 0; x < symbols.size(); ++x) {
    const PlaneSymbol symbol = small_plane_symbols[8][static_cast<std::size_t>(Base::sent)][x];
    if (symbol.bits == 8) symbols[x] = static_cast<std::uint8_t>(symbol.code);
  }
  return symbols;
}();

/// Codes words into a sink (BitWriter or BitCounter).
template <class Sink>
class PlaneEncoder {
 public:
  PlaneEncoder(const Parameters& p, const PlaneCodes& codes, Sink& sink)
      : sink_(sink),
        word_bits_(p.word_bits),
        block_size_(p.block_size),
        plane_bits_(plane_bits(p)),
        index_bits_(log2_ceil(static_cast<std::uint32_t>(p.block_size))),
        base_sent_(p.base == Base::sent),
        is_common_setting_(p.word_bits == 8 && p.block_size == 8 && base_sent_),
        small_symbols_(block_size_ <= max_small_block_size
                           ? &small_plane_symbols[static_cast<std::size_t>(p.block_size)]
                                                 [static_cast<std::size_t>(p.base)]
                           : nullptr) {
    const int run_bits = log2_ceil(static_cast<std::uint32_t>(p.word_bits));
    zero_planes_[1] = {codes.single_zero.code, codes.single_zero.bits};
    for (unsigned run = 2; run < zero_planes_.size(); ++run) {
      zero_planes_[run] = {static_cast<std::uint16_t>(codes.zero_run.code << run_bits | (run - 2)),
                           static_cast<std::uint8_t>(codes.zero_run.bits + run_bits)};
    }
  }

  /// Codes whole blocks and returns how many words they had; less than a block is left.
  template <class Word>
  int push_blocks(const Word* words, int count) {
    int coded = 0;
    for (; count - coded >= block_size_; coded += block_size_) {
      if constexpr (sizeof(Word) == 1) {
        if (is_common_setting_ && put_common_block<std::is_signed_v<Word>>(words + coded)) continue;
      }
      put_block(words + coded);
    }
    return coded;
  }

  /// Codes the last words, less than a block, filled up with zero words, and flushes the sink.
  template <class Word>
  void finish(const Word* words, int count) {
    if (count > 0) {
      std::array<Word, max_block_size> block{};
      std::copy_n(words, count, block.begin());
      put_block(block.data());
    }
    sink_.flush();
  }

 private:
  static constexpr std::uint64_t ones(int count) { return ~std::uint64_t{0} >> (64 - count); }

  template <class Word>
  void put_block(const Word* block) {
    CodeBuffer<Sink> codes(sink_);
    if (base_sent_) {
      last_word_ = block[0];
      codes.put(static_cast<std::uint64_t>(last_word_) & ones(word_bits_), word_bits_);
    }
    const Word* words = block + (block_size_ - plane_bits_);
    if (small_symbols_ != nullptr) {
      put_small_planes(words, codes);
    } else {
      BlockDeltas deltas;
      for (int i = 0; i < plane_bits_; ++i) deltas[static_cast<std::size_t>(i)] = delta(words[i]);
      put_planes(deltas, codes);
    }
  }

  /// 8 words of 8 bits behind a sent base, in one integer. In nine of ten such blocks of real data
  /// all symbols have 8 bits up to a run of zero X that reaches the top plane. Returns false for
  /// others.
  template <bool is_signed>
  bool put_common_block(const void* block) {
    constexpr std::uint64_t top_bits = 0x8080808080808080;
    const std::uint64_t words = load_little_endian(static_cast<const std::uint8_t*>(block));
    const std::uint64_t next = words >> 8;
    // Bytes of next - words, without borrows from one to another.
    const std::uint64_t deltas =
        ((next | top_bits) - (words & ~top_bits)) ^ ((next ^ ~words) & top_bits);
    // Bit 8 of a delta, its sign, and what is left of it by XOR with bit 7, in that bit's place.
    const std::uint64_t borrow = (~next & words) | ((~next | words) & deltas);
    const std::uint64_t overflow = (next ^ words) & (next ^ deltas);
    const std::uint64_t sign_x = is_signed ? overflow : borrow ^ deltas;
    constexpr std::uint64_t seven_bytes = ~std::uint64_t{0} >> 8;
    if ((sign_x & top_bits & seven_bytes) != 0) return false;

    // The lowest plane is in the most significant byte.
    const std::uint64_t dbp = antitranspose_8x8(deltas & seven_bytes);
    const std::uint64_t dbx = dbp ^ dbp >> 8;
    std::uint64_t symbols = 0;
    for (int place = 0; place < 64; place += 8) {
      symbols |= static_cast<std::uint64_t>(long_symbols[dbx >> place & 0xFF]) << place;
    }
    const auto nonzero_bytes = [](std::uint64_t x) { return ((x & ~top_bits) + ~top_bits) | x; };
    const std::uint64_t is_long = nonzero_bytes(symbols) & nonzero_bytes(dbp);
    const int bits = std::countl_zero((~is_long & top_bits) | 1) & ~7;
    if (dbx << bits == 0) {
      const PlaneSymbol zeros = zero_planes_[static_cast<std::size_t>(9 - bits / 8)];
      const std::uint64_t code = symbols >> 1 >> (63 - bits) << zeros.bits | zeros.code;
      const int code_bits = bits + zeros.bits;
      if (code_bits <= 56) {
        sink_.put((words & 0xFF) << code_bits | code, 8 + code_bits);
      } else {
        sink_.put(words & 0xFF, 8);
        sink_.put(code, code_bits);
      }
    } else {
      CodeBuffer<Sink> codes(sink_);
      codes.put(words & 0xFF, 8);
      put_zero_planes(9 - put_symbols(byte_swap(dbp), byte_swap(dbx), 0, 0, codes), codes);
    }
    return true;
  }

  /// The difference to the last word, which `word` becomes.
  std::uint64_t delta(std::int64_t word) {
    const std::int64_t before = std::exchange(last_word_, word);
    return static_cast<std::uint64_t>(word - before);
  }

  void put_planes(const BlockDeltas& deltas, CodeBuffer<Sink>& codes) {
    const int planes = word_bits_ + 1;
    BlockPlanes dbp;
    planes_from_deltas(deltas, plane_bits_, planes, dbp);
    std::uint64_t below = 0;
    int zero_planes = 0;
    for (int p = 0; p < planes; ++p) {
      const std::uint64_t plane = dbp[static_cast<std::size_t>(p)];
      const std::uint64_t dbx = plane ^ below;
      below = plane;
      if (dbx == 0) {
        ++zero_planes;
        continue;
      }
      put_zero_planes(zero_planes, codes);
      zero_planes = 0;
      put_plane(dbx, plane, codes);
    }
    put_zero_planes(zero_planes, codes);
  }

  /// The same for planes of at most 8 bits: eight planes at a time in one integer, and symbols from
  /// a table. Only planes whose X is not zero are visited.
  template <class Word>
  void put_small_planes(const Word* words, CodeBuffer<Sink>& codes) {
    std::array<std::uint64_t, max_small_block_size> deltas;
    for (int i = 0; i < max_small_block_size; ++i) {
      deltas[static_cast<std::size_t>(i)] = i < plane_bits_ ? delta(words[i]) : 0;
    }
    const int planes = word_bits_ + 1;
    std::uint64_t below = 0;
    int coded = 0;  // planes
    for (int low = 0; low < planes; low += 8) {
      std::uint64_t rows = 0;
      for (const std::uint64_t each : deltas) rows = rows << 8 | (each >> low & 0xFF);
      // The lowest plane is in the least significant byte. Above the top plane, the deltas' sign
      // goes on, so that X is zero.
      const std::uint64_t dbp = transpose_8x8(rows);
      const std::uint64_t dbx = dbp ^ (dbp << 8 | below >> 56);
      below = dbp;
      coded = put_symbols(dbp, dbx, low, coded, codes);
    }
    put_zero_planes(planes - coded, codes);
  }

  /// Codes the planes from `low` on whose X is not zero, and the zero ones between them. `coded`
  /// planes have been coded before; returns how many have now.
  int put_symbols(std::uint64_t dbp, std::uint64_t dbx, int low, int coded,
                  CodeBuffer<Sink>& codes) const {
    for (std::uint64_t left = dbx; left != 0;) {
      const int place = std::countr_zero(left) & ~7;
      left &= ~(std::uint64_t{0xFF} << place);
      const int plane = low + place / 8;
      const PlaneSymbol zeros = zero_planes_[static_cast<std::size_t>(plane - coded)];
      coded = plane + 1;
      PlaneSymbol symbol = (*small_symbols_)[dbx >> place & 0xFF];
      if ((dbp >> place & 0xFF) == 0 && symbol.code != prefix_all_ones) {
        symbol = {prefix_plane_zero, short_prefix_bits};
      }
      codes.put(static_cast<std::uint64_t>(zeros.code) << symbol.bits | symbol.code,
                zeros.bits + symbol.bits);
    }
    return coded;
  }

  void put_zero_planes(int count, CodeBuffer<Sink>& codes) const {
    const PlaneSymbol zeros = zero_planes_[static_cast<std::size_t>(count)];
    if (count > 0) codes.put(zeros.code, zeros.bits);
  }

  void put_plane(std::uint64_t dbx, std::uint64_t plane, CodeBuffer<Sink>& codes) {
    const int first_one = plane_bits_ - std::bit_width(dbx);  // counted from the left
    const std::uint64_t without_lowest = dbx & (dbx - 1);
    if (dbx == ones(plane_bits_)) {
      codes.put(prefix_all_ones, short_prefix_bits);
    } else if (plane == 0) {
      codes.put(prefix_plane_zero, short_prefix_bits);
    } else if (without_lowest == 0) {
      put_indexed(prefix_single_one, first_one, codes);
    } else if (dbx == (without_lowest | without_lowest >> 1) &&
               std::has_single_bit(without_lowest)) {
      put_indexed(prefix_two_ones, first_one, codes);
    } else {
      if (plane_bits_ >= 63) {
        codes.put(std::uint64_t{1} << (plane_bits_ - 32) | dbx >> 32, 1 + plane_bits_ - 32);
        codes.put(dbx & ones(32), 32);
      } else {
        codes.put(std::uint64_t{1} << plane_bits_ | dbx, 1 + plane_bits_);
      }
    }
  }

  void put_indexed(std::uint8_t prefix, int index, CodeBuffer<Sink>& codes) {
    codes.put(static_cast<std::uint64_t>(prefix) << index_bits_ | static_cast<std::uint64_t>(index),
              short_prefix_bits + index_bits_);
  }

  Sink& sink_;
  int word_bits_;
  int block_size_;
  int plane_bits_;
  int index_bits_;
  bool base_sent_;
  bool is_common_setting_;
  const PlaneSymbols* small_symbols_;                         // null if blocks are not small
  std::array<PlaneSymbol, max_word_bits + 2> zero_planes_{};  // code of a run, by its length
  std::int64_t last_word_ = 0;
};

/// Reads a plane stream back, block by block.
class PlaneDecoder {
 public:
  enum class Verdict {
    ok,
    run_past_top_plane,  // a run of zero planes is longer than the planes that are left
    index_past_end,      // an index of a single or double one is not inside the plane
    stream_ends_early,   // the block needs more bits than the stream has
  };

  PlaneDecoder(const Parameters& p, const PlaneCodes& codes, const std::uint8_t* bytes,
               std::uint64_t byte_count)
      : reader_(bytes, byte_count),
        symbols_(symbol_table(codes)),
        word_bits_(p.word_bits),
        is_signed_(p.is_signed),
        block_size_(p.block_size),
        plane_bits_(plane_bits(p)),
        index_bits_(log2_ceil(static_cast<std::uint32_t>(p.block_size))),
        run_bits_(log2_ceil(static_cast<std::uint32_t>(p.word_bits))),
        base_sent_(p.base == Base::sent) {}

  /// Decodes the next block_size words, sign-extended where words are signed.
  Verdict next(std::array<std::int64_t, max_block_size>& words) {
    if (base_sent_) last_word_ = extend(reader_.take(word_bits_));
    BlockPlanes dbp;
    if (const Verdict verdict = next_planes(dbp); verdict != Verdict::ok) return verdict;
    if (reader_.overrun()) return Verdict::stream_ends_early;

    BlockDeltas deltas;
    deltas_from_planes(dbp, plane_bits_, word_bits_, deltas);
    const int first = block_size_ - plane_bits_;
    words[0] = last_word_;
    for (int i = 0; i < plane_bits_; ++i) {
      // The sum modulo 2^W is exact, so the deltas' top plane carries nothing new.
      last_word_ =
          extend(static_cast<std::uint64_t>(last_word_) + deltas[static_cast<std::size_t>(i)]);
      words[static_cast<std::size_t>(first + i)] = last_word_;
    }
    return Verdict::ok;
  }

  const BitReader& reader() const { return reader_; }

 private:
  enum class Kind : std::uint8_t {
    uncompressed,
    single_zero,
    zero_run,
    all_ones,
    plane_zero,
    two_ones,
    single_one
  };
  struct Symbol {
    Kind kind;
    std::uint8_t prefix_bits;
  };
  using SymbolTable = std::array<Symbol, 1 << short_prefix_bits>;

  static SymbolTable symbol_table(const PlaneCodes& codes) {
    SymbolTable table;
    table.fill({Kind::uncompressed, 1});
    const auto fill = [&table](std::uint8_t code, int bits, Kind kind) {
      const int free = short_prefix_bits - bits;
      for (int rest = 0; rest < 1 << free; ++rest) {
        table[static_cast<std::size_t>(code << free | rest)] = {kind,
                                                                static_cast<std::uint8_t>(bits)};
      }
    };
    fill(codes.single_zero.code, codes.single_zero.bits, Kind::single_zero);
    fill(codes.zero_run.code, codes.zero_run.bits, Kind::zero_run);
    fill(prefix_all_ones, short_prefix_bits, Kind::all_ones);
    fill(prefix_plane_zero, short_prefix_bits, Kind::plane_zero);
    fill(prefix_two_ones, short_prefix_bits, Kind::two_ones);
    fill(prefix_single_one, short_prefix_bits, Kind::single_one);
    return table;
  }

  Verdict next_planes(BlockPlanes& dbp) {
    const int planes = word_bits_ + 1;
    const std::uint64_t all_ones = ~std::uint64_t{0} >> (64 - plane_bits_);
    std::uint64_t plane = 0;
    for (int p = 0; p < planes;) {
      const std::uint64_t window = reader_.window();
      const Symbol symbol = symbols_[window >> (64 - short_prefix_bits)];
      reader_.skip(symbol.prefix_bits);
      int repeat = 1;
      switch (symbol.kind) {
        case Kind::uncompressed:
          plane ^= reader_.take(plane_bits_);
          break;
        case Kind::single_zero:
          break;
        case Kind::zero_run:
          repeat = static_cast<int>(reader_.take(run_bits_)) + 2;
          if (repeat > planes - p) return Verdict::run_past_top_plane;
          break;
        case Kind::all_ones:
          plane ^= all_ones;
          break;
        case Kind::plane_zero:
          plane = 0;
          break;
        case Kind::two_ones:
        case Kind::single_one: {
          const int length = symbol.kind == Kind::two_ones ? 2 : 1;
          const int index = static_cast<int>(reader_.take(index_bits_));
          if (index + length > plane_bits_) return Verdict::index_past_end;
          plane ^= (length == 2 ? std::uint64_t{3} : std::uint64_t{1})
                   << (plane_bits_ - index - length);
          break;
        }
      }
      for (; repeat > 0; --repeat) dbp[static_cast<std::size_t>(p++)] = plane;
    }
    return Verdict::ok;
  }

  std::int64_t extend(std::uint64_t bits) const {
    const int unused = 64 - word_bits_;
    return is_signed_ ? static_cast<std::int64_t>(bits << unused) >> unused
                      : static_cast<std::int64_t>(bits << unused >> unused);
  }

  BitReader reader_;
  SymbolTable symbols_;
  int word_bits_;
  bool is_signed_;
  int block_size_;
  int plane_bits_;
  int index_bits_;
  int run_bits_;
  bool base_sent_;
  std::int64_t last_word_ = 0;
};

}  // namespace ebpc
