// Plane streams back to XORed bit planes, for narrow planes: some pairs of codes, looked up one
// after the other, are one step.

#pragma once

#include <array>
#include <utility>

#include "ebpc/kernels/avx512_plane_memory.h"
#include "ebpc/kernels/avx512_plane_pairs.h"
#include "ebpc/kernels/avx512_stream_lanes.h"

namespace ebpc {
namespace {

/// Takes steps of several streams. Here a position counts the planes of the block that are still to
/// come as a negative number, so that its sign says whether there are any.
template <class Group, class Syntax>
class PlanePairSteps {
 public:
  /// As many as the registers have room for; steps of more pairs wait longer.
  static constexpr int slots = Syntax::pairs_at_once == 2 ? 4 : 6;
  using Positions = std::array<Position, slots>;
  using Memory = PlaneMemory<Group, slots>;

  explicit PlanePairSteps(const Syntax& syntax) : syntax_(syntax) {}

  /// Where the blocks of a stream are that begins there.
  static Position begin(const Syntax& syntax, std::uint64_t bit, std::uint64_t out,
                        std::uint64_t block) {
    return position(bit, out, block, 0 - syntax.planes);
  }

  /// Takes steps in all slots until one is at its end or went too far, and calls `between` between
  /// them.
  template <class Between>
  void run(std::uint8_t* memory, Positions& positions, Between&& between) {
    run_steps(memory, positions, between, std::make_index_sequence<slots>());
  }

  /// If a step went too far, takes the slot's once more, code by code: a pair may go on behind its
  /// block. Returns false if it is malformed.
  [[gnu::always_inline]] bool settle(std::uint8_t* memory, int slot, Position& at) {
    return !went_too_far_ || take_block(memory, slot, at);
  }

 private:
  /// All ones where planes of the block are still to come.
  static std::uint64_t is_open(Position at) {
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(at) >> 63);
  }

  /// In each step some pairs are taken, as long as they belong to the block, and the next block's
  /// base if they complete it. It comes in pieces, each for all slots in turn, since most of it
  /// waits for what has just been looked up.
  template <class Between, std::size_t... slot>
  void run_steps(std::uint8_t* const memory, Positions& positions, Between&& between,
                 std::index_sequence<slot...>) {
    const Syntax syntax = syntax_;  // a copy, which nothing that is written can be part of
    Positions at = positions;
    Position any;
    Position too_far;
    do {
      std::array<std::uint64_t, slots> windows;
      ((before_[slot] = at[slot]), ...);
      ((windows[slot] = stream_window(memory + byte_of(at[slot]), at[slot] & 7)), ...);
      for (int i = 0; i < Syntax::pairs_at_once; ++i) {
        (take_pair(syntax, memory, at[slot], windows[slot]), ...);
      }
      too_far = 0;
      (finish(syntax, memory, slot, at[slot], windows[slot], too_far), ...);
      any = (at[slot] | ...);
      between();
    } while (too_far >> left_bit == 0 && !is_at_end(any));
    positions = at;
    went_too_far_ = too_far >> left_bit != 0;
  }

  /// Takes the pair with which `window` begins, if planes of the block are still to come.
  [[gnu::always_inline]] static void take_pair(const Syntax& syntax, std::uint8_t* memory,
                                               Position& at, std::uint64_t& window) {
    const std::uint64_t first = window >> (64 - PlanePairs::window_bits);
    const Position step = syntax.pairs_by_bits->steps[first] & is_open(at);
    // What is put where no plane is left is overwritten by the next block.
    put_lanes(memory, at, syntax.pairs_by_bits->lanes[first]);
    at += step;
    window <<= step & 63;
  }

  /// Takes the base behind a block that is complete. Planes in `too_far` are some behind its end.
  [[gnu::always_inline]] static void finish(const Syntax& syntax, std::uint8_t* memory,
                                            std::size_t slot, Position& at, std::uint64_t window,
                                            Position& too_far) {
    constexpr int bits_left = valid_window_bits - Syntax::pairs_at_once * PlanePairs::window_bits;
    static_assert(bits_left >= 0);
    if constexpr (Syntax::base_sent) {
      if constexpr (bits_left < 8 * Group::word_bytes) {
        window = stream_window(memory + byte_of(at), at & 7);
      }
      Memory::put_base(memory, slot, block_of(at) + 1, window, syntax.base_shift);
    }
    const std::uint64_t ended = ~is_open(at);
    too_far |= at & ended;
    at += syntax.block_step & ended;
  }

  /// Stores planes, and zeros behind them up to the end of the block.
  [[gnu::always_inline]] static void put_lanes(std::uint8_t* memory, Position at,
                                               std::uint32_t lanes) {
    std::uint8_t* const to = memory + out_of(at);
    const __m128i planes = _mm_cvtsi32_si128(static_cast<int>(lanes));
    if constexpr (Group::block_bytes <= 16) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), planes);
    } else {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_zextsi128_si256(planes));
    }
  }

  /// From before the last step to the end of the block.
  [[gnu::noinline]] bool take_block(std::uint8_t* const memory, int slot, Position& at) {
    at = before_[index(slot)];
    while (is_open(at) != 0) {
      const PlaneCode code = syntax_.first_code(stream_window(memory + byte_of(at), at & 7));
      put_lanes(memory, at, code.lane);
      at += code.step;
    }
    if (at >> left_bit != 0) return false;
    if constexpr (Syntax::base_sent) {
      Memory::put_base(memory, index(slot), block_of(at) + 1,
                       stream_window(memory + byte_of(at), at & 7), syntax_.base_shift);
    }
    at += syntax_.block_step;
    return true;
  }

  const Syntax& syntax_;
  Positions before_;  // before the last step
  bool went_too_far_ = false;
};

}  // namespace
}  // namespace ebpc
