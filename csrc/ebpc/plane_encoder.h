// Writes the plane stream, or counts its bits.

#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <span>
#include <utility>

#include "ebpc/bit_stream.h"
#include "ebpc/observer.h"
#include "ebpc/parameters.h"
#include "ebpc/plane_stream.h"
#include "ebpc/words.h"

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

/// The code of such a symbol; after that of an uncompressed plane, X itself follows.
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

/// Codes words into a sink (BitWriter or BitCounter), watched by an observer: FORMAT.md, step by
/// step. The kernels have faster ways to the same codes and are tested against this one.
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
        run_bits_(log2_ceil(static_cast<std::uint32_t>(p.word_bits))) {}

  /// Codes the blocks that the words fill and returns the words that are left, less than a block.
  template <class Word>
  std::span<const Word> push_blocks(std::span<const Word> words) {
    const auto block_size = static_cast<std::size_t>(block_size_);
    for (; words.size() >= block_size; words = words.subspan(block_size)) put_block(words.data());
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
  template <class Word>
  void put_block(const Word* block) {
    const int first = block_size_ - plane_bits_;  // 1 where the base is sent
    if (first == 1) {
      last_word_ = block[0];
      sink_.put(bits_of(block[0], word_bits_), word_bits_);
    }
    BlockDeltas deltas;
    for (int i = 0; i < plane_bits_; ++i) {
      const std::int64_t word = block[first + i];
      const std::int64_t delta = word - std::exchange(last_word_, word);
      observer_.delta(delta);
      deltas[static_cast<std::size_t>(i)] = static_cast<std::uint64_t>(delta);
    }
    BlockPlanes dbp;
    planes_from_deltas(deltas, plane_bits_, word_bits_ + 1, dbp);
    std::uint64_t below = 0;
    int zero_planes = 0;
    for (int p = 0; p <= word_bits_; ++p) {
      const std::uint64_t plane = dbp[static_cast<std::size_t>(p)];
      const std::uint64_t dbx = plane ^ below;
      below = plane;
      if (dbx == 0) {
        ++zero_planes;
      } else {
        put_zero_planes(std::exchange(zero_planes, 0));
        put_plane(dbx, plane);
      }
    }
    put_zero_planes(zero_planes);
    observer_.block();
  }

  void put_zero_planes(int count) {
    if (count == 0) return;
    if (count == 1) {
      sink_.put(codes_.single_zero.code, codes_.single_zero.bits);
    } else {
      const auto run = static_cast<std::uint64_t>(count - 2);
      sink_.put(std::uint64_t{codes_.zero_run.code} << run_bits_ | run,
                codes_.zero_run.bits + run_bits_);
    }
    observer_.symbol(count == 1 ? PlaneSymbol::single_zero : PlaneSymbol::zero_run, count);
  }

  void put_plane(std::uint64_t dbx, std::uint64_t plane) {
    const PlaneSymbol symbol = plane_symbol(dbx, plane == 0, plane_bits_);
    const PlaneCode code = plane_code(symbol, dbx, plane_bits_, index_bits_);
    sink_.put(code.code, code.bits);
    if (symbol == PlaneSymbol::uncompressed) sink_.put(dbx, plane_bits_);
    observer_.symbol(symbol, 1);
  }

  Sink& sink_;
  [[no_unique_address]] Observer observer_;
  PlaneCodes codes_;
  int word_bits_;
  int block_size_;
  int plane_bits_;
  int index_bits_;
  int run_bits_;
  std::int64_t last_word_ = 0;
};

}  // namespace ebpc
