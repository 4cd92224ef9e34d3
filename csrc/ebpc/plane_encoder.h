// Writes the plane stream, or counts its bits.

#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

#include "ebpc/bit_stream.h"
#include "ebpc/observer.h"
#include "ebpc/parameters.h"
#include "ebpc/plane_stream.h"

namespace ebpc {

/// The symbol of a plane whose XOR with the plane below it, X, is not zero.
constexpr PlaneSymbol plane_symbol(std::uint64_t x, bool plane_is_zero, int plane_bits) {
  const std::uint64_t without_lowest = x & (x - 1);
  if (x == ~std::uint64_t{0} >> (64 - plane_bits)) return PlaneSymbol::all_ones;
  if (plane_is_zero) return PlaneSymbol::plane_zero;
  if (without_lowest == 0) return PlaneSymbol::single_one;
  if (x == (without_lowest | without_lowest >> 1) && std::has_single_bit(without_lowest)) {
    return PlaneSymbol::two_ones;
  }
  return PlaneSymbol::uncompressed;
}

struct PlaneCode {
  std::uint16_t code;
  std::uint8_t bits;
};

/// The code of such a symbol; behind that of an uncompressed plane, X itself follows.
constexpr PlaneCode plane_code(PlaneSymbol symbol, std::uint64_t x, int plane_bits,
                               int index_bits) {
  const int first_one = plane_bits - static_cast<int>(std::bit_width(x));  // from the left
  const auto indexed = [&](unsigned prefix) -> PlaneCode {
    return {static_cast<std::uint16_t>(prefix << index_bits | static_cast<unsigned>(first_one)),
            static_cast<std::uint8_t>(short_prefix_bits + index_bits)};
  };
  switch (symbol) {
    case PlaneSymbol::all_ones:
      return {prefix_all_ones, short_prefix_bits};
    case PlaneSymbol::plane_zero:
      return {prefix_plane_zero, short_prefix_bits};
    case PlaneSymbol::single_one:
      return indexed(prefix_single_one);
    case PlaneSymbol::two_ones:
      return indexed(prefix_two_ones);
    default:
      return {1, 1};
  }
}

/// Codes of planes of at most 8 bits that are not zero, X included, by X, whose first bit is the
/// most significant; none for an X of zero.
using SmallPlaneCodes = std::array<PlaneCode, 256>;

inline constexpr int max_small_block_size = 8;

constexpr SmallPlaneCodes make_small_plane_codes(int block_size, int plane_bits) {
  const int index_bits = log2_ceil(static_cast<std::uint32_t>(block_size));
  SmallPlaneCodes codes{};
  for (unsigned x = 1; x < 1U << plane_bits; ++x) {
    const PlaneSymbol symbol = plane_symbol(x, false, plane_bits);
    PlaneCode code = plane_code(symbol, x, plane_bits, index_bits);
    if (symbol == PlaneSymbol::uncompressed) {
      code = {static_cast<std::uint16_t>(1U << plane_bits | x),
              static_cast<std::uint8_t>(1 + plane_bits)};
    }
    codes[x << (8 - plane_bits)] = code;
  }
  return codes;
}

/// small_plane_codes[block_size][base]
inline constexpr auto small_plane_codes = [] {
  std::array<std::array<SmallPlaneCodes, 2>, max_small_block_size + 1> codes{};
  for (int n = min_block_size; n <= max_small_block_size; ++n) {
    for (const Base base : {Base::sent, Base::reused}) {
      codes[static_cast<std::size_t>(n)][static_cast<std::size_t>(base)] =
          make_small_plane_codes(n, plane_bits({.block_size = n, .base = base}));
    }
  }
  return codes;
}();

/// Codes of 8 bits of blocks of 8 words behind a sent base, by X; 0 for the X that have others.
inline constexpr auto long_codes = [] {
  std::array<std::uint8_t, 256> codes{};
  for (std::size_t x = 0; x < codes.size(); ++x) {
    const PlaneCode code = small_plane_codes[8][static_cast<std::size_t>(Base::sent)][x];
    if (code.bits == 8) codes[x] = static_cast<std::uint8_t>(code.code);
  }
  return codes;
}();

/// Codes words into a sink (BitWriter or BitCounter), watched by an observer. Blocks of at most 8
/// words have quicker ways to the same codes, which tell an observer nothing: with one, all blocks
/// go the general way.
template <class Sink, class Observer = Unobserved>
class PlaneEncoder {
 public:
  PlaneEncoder(const Parameters& p, const PlaneCodes& codes, Sink& sink, Observer observer = {})
      : sink_(sink),
        observer_(observer),
        word_bits_(p.word_bits),
        block_size_(p.block_size),
        plane_bits_(plane_bits(p)),
        index_bits_(log2_ceil(static_cast<std::uint32_t>(p.block_size))),
        base_sent_(p.base == Base::sent),
        is_common_setting_(p.word_bits == 8 && p.block_size == 8 && base_sent_),
        small_codes_(block_size_ <= max_small_block_size
                         ? &small_plane_codes[static_cast<std::size_t>(p.block_size)]
                                             [static_cast<std::size_t>(p.base)]
                         : nullptr) {
    const int run_bits = log2_ceil(static_cast<std::uint32_t>(p.word_bits));
    zero_planes_[1] = {codes.single_zero.code, codes.single_zero.bits};
    for (unsigned run = 2; run < zero_planes_.size(); ++run) {
      zero_planes_[run] = {static_cast<std::uint16_t>(codes.zero_run.code << run_bits | (run - 2)),
                           static_cast<std::uint8_t>(codes.zero_run.bits + run_bits)};
    }
  }

  /// Codes the blocks that the words fill and returns the words that are left, less than a block.
  template <class Word>
  std::span<const Word> push_blocks(std::span<const Word> words) {
    const auto block_size = static_cast<std::size_t>(block_size_);
    for (; words.size() >= block_size; words = words.subspan(block_size)) {
      if constexpr (!observed && sizeof(Word) == 1) {
        if (is_common_setting_ && put_common_block<std::is_signed_v<Word>>(words.data())) continue;
      }
      put_block(words.data());
    }
    return words;
  }

  /// Codes the last words, less than a block, filled up with zero words, and flushes the sink.
  template <class Word>
  void finish(std::span<const Word> words) {
    if (!words.empty()) {
      std::array<Word, max_block_size> block{};
      std::copy(words.begin(), words.end(), block.begin());
      put_block(block.data());
    }
    sink_.flush();
  }

 private:
  static constexpr bool observed = !std::is_same_v<Observer, Unobserved>;

  static constexpr std::uint64_t ones(int count) { return ~std::uint64_t{0} >> (64 - count); }

  template <class Word>
  void put_block(const Word* block) {
    CodeBuffer<Sink> codes(sink_);
    if (base_sent_) {
      last_word_ = block[0];
      codes.put(static_cast<std::uint64_t>(last_word_) & ones(word_bits_), word_bits_);
    }
    const Word* words = block + (block_size_ - plane_bits_);
    if (!observed && small_codes_ != nullptr) {
      put_small_planes(words, codes);
    } else {
      put_planes(words, codes);
    }
    observer_.block();
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
      symbols |= static_cast<std::uint64_t>(long_codes[dbx >> place & 0xFF]) << place;
    }
    const auto nonzero_bytes = [](std::uint64_t x) { return ((x & ~top_bits) + ~top_bits) | x; };
    const std::uint64_t is_long = nonzero_bytes(symbols) & nonzero_bytes(dbp);
    const int bits = std::countl_zero((~is_long & top_bits) | 1) & ~7;
    if (dbx << bits == 0) {
      const PlaneCode zeros = zero_planes_[static_cast<std::size_t>(9 - bits / 8)];
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
    const std::int64_t delta = word - std::exchange(last_word_, word);
    observer_.delta(delta);
    return static_cast<std::uint64_t>(delta);
  }

  template <class Word>
  void put_planes(const Word* words, CodeBuffer<Sink>& codes) {
    const int planes = word_bits_ + 1;
    BlockDeltas deltas;
    for (int i = 0; i < plane_bits_; ++i) deltas[static_cast<std::size_t>(i)] = delta(words[i]);
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
      const PlaneCode zeros = zero_planes_[static_cast<std::size_t>(plane - coded)];
      coded = plane + 1;
      PlaneCode symbol = (*small_codes_)[dbx >> place & 0xFF];
      if ((dbp >> place & 0xFF) == 0 && symbol.code != prefix_all_ones) {
        symbol = {prefix_plane_zero, short_prefix_bits};
      }
      codes.put(static_cast<std::uint64_t>(zeros.code) << symbol.bits | symbol.code,
                zeros.bits + symbol.bits);
    }
    return coded;
  }

  void put_zero_planes(int count, CodeBuffer<Sink>& codes) {
    if (count == 0) return;
    const PlaneCode zeros = zero_planes_[static_cast<std::size_t>(count)];
    codes.put(zeros.code, zeros.bits);
    observer_.symbol(count == 1 ? PlaneSymbol::single_zero : PlaneSymbol::zero_run, count);
  }

  void put_plane(std::uint64_t dbx, std::uint64_t plane, CodeBuffer<Sink>& codes) {
    const PlaneSymbol symbol = plane_symbol(dbx, plane == 0, plane_bits_);
    if (symbol == PlaneSymbol::uncompressed) {
      put_uncompressed(dbx, codes);
    } else {
      const PlaneCode code = plane_code(symbol, dbx, plane_bits_, index_bits_);
      codes.put(code.code, code.bits);
    }
    observer_.symbol(symbol, 1);
  }

  void put_uncompressed(std::uint64_t dbx, CodeBuffer<Sink>& codes) const {
    if (plane_bits_ >= 63) {
      codes.put(std::uint64_t{1} << (plane_bits_ - 32) | dbx >> 32, 1 + plane_bits_ - 32);
      codes.put(dbx & ones(32), 32);
    } else {
      codes.put(std::uint64_t{1} << plane_bits_ | dbx, 1 + plane_bits_);
    }
  }

  Sink& sink_;
  [[no_unique_address]] Observer observer_;
  int word_bits_;
  int block_size_;
  int plane_bits_;
  int index_bits_;
  bool base_sent_;
  bool is_common_setting_;
  const SmallPlaneCodes* small_codes_;                      // null if blocks are not small
  std::array<PlaneCode, max_word_bits + 2> zero_planes_{};  // code of a run, by its length
  std::int64_t last_word_ = 0;
};

}  // namespace ebpc
