// The plane stream: the non-zero words, delta coded, cut into bit planes, XORed and mapped to a
// prefix code (bit-plane compression: Kim et al., ISCA 2016; JETCAS 2019, section III-B and table
// I).

#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "ebpc/bit_stream.h"
#include "ebpc/decode_status.h"
#include "ebpc/observer.h"
#include "ebpc/parameters.h"
#include "ebpc/words.h"

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

/// Codes words into a sink (BitWriter or BitCounter), watched by an observer.
template <class Sink, class Observer = Unobserved>
class PlaneEncoder {
 public:
  PlaneEncoder(const Parameters& p, const PlaneCodes& codes, Sink& sink, Observer observer = {})
      : sink_(sink),
        observer_(observer),
        codes_(codes),
        word_bits_(p.word_bits),
        block_size_(p.block_size),
        plane_bits_(plane_bits(p)),
        index_bits_(log2_ceil(static_cast<std::uint32_t>(p.block_size))),
        run_bits_(log2_ceil(static_cast<std::uint32_t>(p.word_bits))),
        base_sent_(p.base == Base::sent) {}

  void push(std::int64_t word) {
    block_[static_cast<std::size_t>(filled_++)] = word;
    if (filled_ == block_size_) end_block();
  }

  /// Ends the stream: the last block is filled up with zero words, the sink flushed.
  void finish() {
    if (filled_ > 0) {
      while (filled_ < block_size_) block_[static_cast<std::size_t>(filled_++)] = 0;
      end_block();
    }
    sink_.flush();
  }

 private:
  static constexpr std::uint64_t ones(int count) { return ~std::uint64_t{0} >> (64 - count); }

  void end_block() {
    if (base_sent_) {
      sink_.put(static_cast<std::uint64_t>(block_[0]) & ones(word_bits_), word_bits_);
      last_word_ = block_[0];
    }
    const int planes = word_bits_ + 1;
    const int first = block_size_ - plane_bits_;
    BlockDeltas deltas;
    for (int i = 0; i < plane_bits_; ++i) {
      const std::int64_t word = block_[static_cast<std::size_t>(first + i)];
      const std::int64_t delta = word - last_word_;
      deltas[static_cast<std::size_t>(i)] = static_cast<std::uint64_t>(delta);
      observer_.delta(delta);
      last_word_ = word;
    }
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
      put_zero_planes(zero_planes);
      zero_planes = 0;
      put_plane(dbx, plane);
    }
    put_zero_planes(zero_planes);
    observer_.block();
    filled_ = 0;
  }

  void put_zero_planes(int count) {
    if (count == 1) {
      sink_.put(codes_.single_zero.code, codes_.single_zero.bits);
      observer_.symbol(PlaneSymbol::single_zero, 1);
    } else if (count > 1) {
      const auto length = static_cast<std::uint64_t>(count - 2);
      sink_.put(static_cast<std::uint64_t>(codes_.zero_run.code) << run_bits_ | length,
                codes_.zero_run.bits + run_bits_);
      observer_.symbol(PlaneSymbol::zero_run, count);
    }
  }

  void put_plane(std::uint64_t dbx, std::uint64_t plane) {
    const int first_one = plane_bits_ - std::bit_width(dbx);  // counted from the left
    const std::uint64_t without_lowest = dbx & (dbx - 1);
    if (dbx == ones(plane_bits_)) {
      sink_.put(prefix_all_ones, short_prefix_bits);
      observer_.symbol(PlaneSymbol::all_ones, 1);
    } else if (plane == 0) {
      sink_.put(prefix_plane_zero, short_prefix_bits);
      observer_.symbol(PlaneSymbol::plane_zero, 1);
    } else if (without_lowest == 0) {
      put_indexed(prefix_single_one, first_one);
      observer_.symbol(PlaneSymbol::single_one, 1);
    } else if (dbx == (without_lowest | without_lowest >> 1) &&
               std::has_single_bit(without_lowest)) {
      put_indexed(prefix_two_ones, first_one);
      observer_.symbol(PlaneSymbol::two_ones, 1);
    } else {
      put_uncompressed(dbx);
      observer_.symbol(PlaneSymbol::uncompressed, 1);
    }
  }

  void put_uncompressed(std::uint64_t dbx) {
    if (plane_bits_ == 64) {
      sink_.put(1, 1);
      sink_.put(dbx, 64);
    } else {
      sink_.put(std::uint64_t{1} << plane_bits_ | dbx, 1 + plane_bits_);
    }
  }

  void put_indexed(std::uint8_t prefix, int index) {
    sink_.put(static_cast<std::uint64_t>(prefix) << index_bits_ | static_cast<std::uint64_t>(index),
              short_prefix_bits + index_bits_);
  }

  Sink& sink_;
  [[no_unique_address]] Observer observer_;
  PlaneCodes codes_;
  int word_bits_;
  int block_size_;
  int plane_bits_;
  int index_bits_;
  int run_bits_;
  bool base_sent_;
  int filled_ = 0;
  std::int64_t last_word_ = 0;
  std::array<std::int64_t, max_block_size> block_;
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

  /// A verdict as a message; `bit` is where the block starts.
  static DecodeStatus status_of(Verdict verdict, std::uint64_t bit) {
    switch (verdict) {
      case Verdict::run_past_top_plane:
        return {"a run of zero planes that ends within the block", "a longer run", true, bit};
      case Verdict::index_past_end:
        return {"the index of a one inside the bit plane", "an index past its end", true, bit};
      case Verdict::stream_ends_early:
        return {"more bits", "the end of the stream", true, bit};
      case Verdict::ok:
        break;
    }
    return {};
  }

  const BitReader& reader() const { return reader_; }

 private:
  struct Symbol {
    PlaneSymbol kind;
    std::uint8_t prefix_bits;
  };
  using SymbolTable = std::array<Symbol, 1 << short_prefix_bits>;

  static SymbolTable symbol_table(const PlaneCodes& codes) {
    SymbolTable table;
    table.fill({PlaneSymbol::uncompressed, 1});
    const auto fill = [&table](std::uint8_t code, int bits, PlaneSymbol kind) {
      const int free = short_prefix_bits - bits;
      for (int rest = 0; rest < 1 << free; ++rest) {
        table[static_cast<std::size_t>(code << free | rest)] = {kind,
                                                                static_cast<std::uint8_t>(bits)};
      }
    };
    fill(codes.single_zero.code, codes.single_zero.bits, PlaneSymbol::single_zero);
    fill(codes.zero_run.code, codes.zero_run.bits, PlaneSymbol::zero_run);
    fill(prefix_all_ones, short_prefix_bits, PlaneSymbol::all_ones);
    fill(prefix_plane_zero, short_prefix_bits, PlaneSymbol::plane_zero);
    fill(prefix_two_ones, short_prefix_bits, PlaneSymbol::two_ones);
    fill(prefix_single_one, short_prefix_bits, PlaneSymbol::single_one);
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
        case PlaneSymbol::uncompressed:
          plane ^= reader_.take(plane_bits_);
          break;
        case PlaneSymbol::single_zero:
          break;
        case PlaneSymbol::zero_run:
          repeat = static_cast<int>(reader_.take(run_bits_)) + 2;
          if (repeat > planes - p) return Verdict::run_past_top_plane;
          break;
        case PlaneSymbol::all_ones:
          plane ^= all_ones;
          break;
        case PlaneSymbol::plane_zero:
          plane = 0;
          break;
        case PlaneSymbol::two_ones:
        case PlaneSymbol::single_one: {
          const int length = symbol.kind == PlaneSymbol::two_ones ? 2 : 1;
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
    return extended_word(bits, word_bits_, is_signed_);
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
