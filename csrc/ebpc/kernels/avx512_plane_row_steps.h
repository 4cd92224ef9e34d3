// Plane streams back to XORed bit planes, for planes of any width: a row of uncompressed planes and
// the symbol behind it are one step.

#pragma once

#include <array>
#include <utility>

#include "ebpc/kernels/avx512_plane_memory.h"
#include "ebpc/kernels/avx512_plane_rows.h"

namespace ebpc {
namespace {

/// Planes that are zero before the XOR: behind it, such a plane is the XOR of all before it. There
/// are too many of them for a branch that is guessed, and too few for each step to look at all
/// planes, so their places are noted.
template <class Group, class Syntax>
class RepeatedPlanes {
 public:
  static constexpr std::size_t capacity = 256;

  /// Notes the plane at `lane`, which is zero, if it is such a one. `count` are those noted so far.
  [[gnu::always_inline]] void note(std::size_t& count, std::uint8_t* lane, std::size_t is_one) {
    lanes_[count] = lane;
    count += is_one;
  }

  void complete(std::size_t count) const {
    for (std::size_t i = 0; i < count; ++i) complete(lanes_[i]);
  }

 private:
  using Lane = typename Group::Lane;

  static void complete(std::uint8_t* const lane) {
    // Blocks lie at multiples of their size. A top plane, which is not needed, has its place in the
    // next one.
    const std::uint8_t* at = lane - (address(lane) & (Group::block_bytes - 1));
    if (at == lane) return;
    Lane sum = 0;
    for (; at < lane; at += sizeof(Lane)) {
      Lane plane;
      std::memcpy(&plane, at, sizeof plane);
      if constexpr (Syntax::eights) plane = plane_of_code(plane);
      sum = static_cast<Lane>(sum ^ plane);
    }
    if constexpr (Syntax::eights) sum |= 0x80;  // an uncompressed one
    std::memcpy(lane, &sum, sizeof sum);
  }

  std::array<std::uint8_t*, capacity> lanes_;
};

/// Takes steps of several streams.
template <class Group, class Syntax>
class PlaneRowSteps {
 public:
  static constexpr int slots = 6;
  using Positions = std::array<Position, slots>;
  using Memory = PlaneMemory<Group, slots>;

  explicit PlaneRowSteps(const Syntax& syntax) : syntax_(syntax), rows_(syntax) {}

  /// Where the blocks of a stream are that begins there.
  static Position begin(const Syntax& syntax, std::uint64_t bit, std::uint64_t out,
                        std::uint64_t block) {
    return position(bit, out, block, syntax.planes);
  }

  /// Takes steps in all slots until one is at its end or went too far, and calls `between` between
  /// them.
  template <class Between>
  void run(std::uint8_t* memory, Positions& positions, Between&& between) {
    run_steps(memory, positions, between, std::make_index_sequence<slots>());
  }

  /// Takes the last step of a slot once more if it went too far: by a row that seems to go on
  /// behind the block, or by a malformed symbol. Returns false if it is malformed.
  [[gnu::always_inline]] bool settle(std::uint8_t* memory, int slot, Position& at) {
    return !is_too_far(at) || take_careful_step(memory, slot, at);
  }

 private:
  using Word = typename Group::Word;
  using Symbol = typename Syntax::Symbol;

  struct Step {
    std::uint32_t others;     // the lowest 1 is behind the uncompressed planes
    std::uint64_t window;     // of the stream, behind these
    std::uint64_t code_bits;  // in its low 6 bits, those of the symbol there
  };

  /// Takes steps in all slots, as long as all go on. In each, uncompressed planes are taken, then
  /// one other symbol, as they come, and the next block's base if they complete a block. Most of a
  /// step waits for what it has just looked up; so it comes in pieces, each for all slots in turn.
  template <class Between, std::size_t... slot>
  void run_steps(std::uint8_t* const memory, Positions& positions, Between&& between,
                 std::index_sequence<slot...>) {
    Positions at = positions;
    Positions before;
    std::size_t repeated = 0;
    Position any;
    do {
      std::array<Step, slots> steps;
      (take_row(memory, at[slot], steps[slot]), ...);
      before = at;
      (find_symbol(memory, at[slot], steps[slot]), ...);
      (put_symbol(memory, at[slot], steps[slot], repeated), ...);
      (finish(memory, slot, at[slot], steps[slot]), ...);
      any = (at[slot] | ...);
      between();
    } while (!is_too_far(any) && !is_at_end(any) && repeated + slots <= repeated_.capacity);
    positions = at;
    before_ = before;
    repeated_.complete(repeated);
  }

  [[gnu::always_inline]] void take_row(std::uint8_t* memory, Position at, Step& step) const {
    step.others = rows_.copy(memory + byte_of(at), at & 7, memory + out_of(at));
  }

  [[gnu::always_inline]] void find_symbol(const std::uint8_t* memory, Position& at,
                                          Step& step) const {
    at += static_cast<std::uint64_t>(std::countr_zero(step.others)) * syntax_.raw_step;
    step.window = stream_window(memory + byte_of(at), at & 7);
  }

  [[gnu::always_inline]] void put_symbol(std::uint8_t* memory, Position& at, Step& step,
                                         std::size_t& repeated) {
    const Symbol& symbol = syntax_.symbols[step.window >> syntax_.symbol_shift];
    std::uint8_t* const to = memory + out_of(at);
    put_lane(to, symbol);
    repeated_.note(repeated, to, symbol.repeats);
    at += symbol.step;
    step.code_bits = symbol.step;
  }

  /// Stores a symbol's first plane, and zeros behind it up to the end of the block.
  [[gnu::always_inline]] static void put_lane(std::uint8_t* to, const Symbol& symbol) {
    __m128i lane;
    if constexpr (sizeof symbol.lane == 8) {
      lane = _mm_cvtsi64_si128(static_cast<long long>(symbol.lane));
    } else {
      lane = _mm_cvtsi32_si128(static_cast<int>(symbol.lane));
    }
    if constexpr (Group::block_bytes <= 16) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), lane);
    } else {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_zextsi128_si256(lane));
      for (int i = 32; i < Group::block_bytes; i += 32) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), _mm256_setzero_si256());
      }
    }
  }

  [[gnu::always_inline]] void finish(std::uint8_t* memory, std::size_t slot, Position& at,
                                     const Step& step) const {
    if constexpr (Syntax::base_sent) {
      // If that was the block's end, a base follows.
      Memory::put_base(memory, slot, block_of(at) + 1, step.window << (step.code_bits & 63),
                       syntax_.base_shift);
    }
    const auto ends =
        static_cast<std::uint64_t>((static_cast<std::int64_t>(left_of(at)) - 1) >> 63);
    at += syntax_.block_step & ends;
  }

  [[gnu::noinline]] bool take_careful_step(std::uint8_t* const memory, int slot, Position& at) {
    at = before_[index(slot)];
    Step step;
    take_row(memory, at, step);
    const auto row =
        static_cast<std::uint64_t>(std::min(std::countr_zero(step.others), Rows::planes));
    const std::uint64_t left = left_of(at);
    if (row < left) {
      // A symbol, unless the row is only a full one.
      at += row * syntax_.raw_step;
      step.window = stream_window(memory + byte_of(at), at & 7);
      std::size_t repeated = 0;
      put_symbol(memory, at, step, repeated);
      repeated_.complete(repeated);
    } else {
      at += left * syntax_.raw_step;
      step.window = stream_window(memory + byte_of(at), at & 7);
      step.code_bits = 0;
      if constexpr (Syntax::eights) {
        // Neither the top plane's code is kept, nor may what the row has copied from behind the
        // block stand where a block of fewer planes has none.
        const std::uint8_t top = memory[out_of(at) - 1];
        if (top < 0x80 && plane_of_code(top) >= 0x80) return false;
        std::memset(memory + out_of(at), 0, Group::block_bytes);
      }
    }
    if (is_too_far(at)) return false;
    finish(memory, index(slot), at, step);
    return true;
  }

  using Rows = PlaneRows<Group, Syntax>;

  const Syntax& syntax_;
  const Rows rows_;
  RepeatedPlanes<Group, Syntax> repeated_;
  Positions before_;  // before the last step
};

}  // namespace
}  // namespace ebpc
