// Reads the plane stream.

#pragma once

#include <array>
#include <cstdint>

#include "ebpc/bit_stream.h"
#include "ebpc/decode_status.h"
#include "ebpc/observer.h"
#include "ebpc/parameters.h"
#include "ebpc/plane_stream.h"
#include "ebpc/words.h"

namespace ebpc {

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
