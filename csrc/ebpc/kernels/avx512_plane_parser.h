// Plane streams back to XORed bit planes, for every setting: several streams in turn, since within
// one stream each code's place depends on the code before.
//
// A row of uncompressed planes and the symbol behind it are one step of each stream. Everything
// about a stream's position is in one number, so that it moves on by one addition.

#pragma once

#include <array>
#include <utility>

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

/// The memory of some streams of up to longest_job words that are parsed in turn. It lies in one
/// piece: first the bases of all streams, then for each stream its planes and its bytes.
template <class Group, int slots>
class PlaneMemory {
 public:
  using Word = typename Group::Word;

  explicit PlaneMemory(const Parameters& p)
      : max_blocks_((longest_job + static_cast<std::size_t>(p.block_size) - 1) /
                    static_cast<std::size_t>(p.block_size)),
        lanes_bytes_(round_up((max_blocks_ + 1) * Group::block_bytes + written_behind)),
        stream_bytes_(round_up(max_plane_stream_bits(p, longest_job) / 8 + 1 + read_behind)) {}

  std::size_t max_blocks() const { return max_blocks_; }
  std::size_t size() const { return lanes(slots); }

  /// The greatest size for any setting: blocks of two words of 32 bits take the most memory.
  static constexpr std::size_t most_bytes() {
    constexpr std::size_t block_bits = 32 + 33 * 6;
    constexpr std::size_t rounding = 2048;
    return base(slots, 1) + rounding +
           index(slots) * (longest_job / 2 * (32 + block_bits / 8 + 1) + rounding);
  }

  /// Where the base of a block goes, by the number in the position.
  static constexpr std::size_t base(int slot, std::uint64_t block) {
    return (index(slot) * most_blocks + block) * sizeof(Word);
  }
  std::size_t lanes(int slot) const {
    return round_up(base(slots, 1) + 64) + index(slot) * (lanes_bytes_ + stream_bytes_);
  }
  std::size_t stream(int slot) const { return lanes(slot) + lanes_bytes_; }

 private:
  // By a row of planes, and by a symbol and the zeros behind it up to the end of a block.
  static constexpr std::size_t written_behind = 32 * Group::lane_bytes + 2 * 64;
  static constexpr std::size_t read_behind = 64;

  std::size_t max_blocks_;
  std::size_t lanes_bytes_;
  std::size_t stream_bytes_;
};

/// Parses streams that `Source` hands out:
///   bool take(int slot, std::size_t& bytes, std::size_t& blocks)
///     puts the next stream, of at least one block, where the slot's is; false if there is none
///   void look_ahead()   called between steps, to prefetch what comes next
///   void done(int slot, bool ok)   all blocks' planes and bases are in the slot's memory
template <class Group, class Syntax, class Source>
class PlaneParser {
 public:
  using Word = typename Group::Word;
  static constexpr int slots = 6;
  using Memory = PlaneMemory<Group, slots>;
  static_assert(longest_job / min_block_size < most_blocks);
  static_assert(8 * Memory::most_bytes() <= std::size_t{1} << out_bit);
  static_assert(Memory::most_bytes() <= std::size_t{1} << (block_bit - out_bit));

  PlaneParser(const Syntax& syntax, const Memory& places, std::uint8_t* memory, Source& source)
      : syntax_(syntax), rows_(syntax), places_(places), memory_(memory), source_(source) {
    for (int slot = 0; slot < slots; ++slot) take(slot);
  }

  void run() {
    while (busy_ > 0) {
      run_steps(std::make_index_sequence<slots>());
      for (int slot = 0; slot < slots; ++slot) {
        if (is_too_far(positions_[index(slot)])) take_careful_step(slot);
        if (is_at_end(positions_[index(slot)])) end(slot);
      }
    }
  }

 private:
  using Symbol = typename Syntax::Symbol;

  struct Step {
    std::uint32_t others;     // the lowest 1 is behind the uncompressed planes
    std::uint64_t window;     // of the stream, behind these
    std::uint64_t code_bits;  // in its low 6 bits, those of the symbol there
  };

  /// Takes steps in all slots, as long as all go on. In each, uncompressed planes are taken, then
  /// one other symbol, as they come, and the next block's base if they complete a block. Most of a
  /// step waits for what it has just looked up; so it comes in pieces, each for all slots in turn.
  template <std::size_t... slot>
  void run_steps(std::index_sequence<slot...>) {
    std::uint8_t* const memory = memory_;
    std::array<Position, slots> at = positions_;
    std::array<Position, slots> before;
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
      source_.look_ahead();
    } while (!is_too_far(any) && !is_at_end(any) && repeated + slots <= repeated_.capacity);
    positions_ = at;
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
      put_base(memory, slot, block_of(at) + 1, step.window << (step.code_bits & 63));
    }
    const auto ends =
        static_cast<std::uint64_t>((static_cast<std::int64_t>(left_of(at)) - 1) >> 63);
    at += syntax_.block_step & ends;
  }

  [[gnu::always_inline]] void put_base(std::uint8_t* memory, std::size_t slot, std::uint64_t block,
                                       std::uint64_t window) const {
    const auto base = static_cast<Word>(window >> syntax_.base_shift);
    std::memcpy(memory + Memory::base(static_cast<int>(slot), block), &base, sizeof base);
  }

  /// Takes a step once more that went too far: by a row that seems to go on behind the block, or by
  /// a malformed symbol.
  [[gnu::noinline]] void take_careful_step(int slot) {
    std::uint8_t* const memory = memory_;
    Position& at = positions_[index(slot)] = before_[index(slot)];
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
      // The top plane's code is not kept.
      if constexpr (Syntax::eights) {
        const std::uint8_t top = memory[out_of(at) - 1];
        if (top < 0x80 && plane_of_code(top) >= 0x80) is_malformed_[index(slot)] = true;
      }
    }
    if (is_too_far(at) || is_malformed_[index(slot)]) {
      is_malformed_[index(slot)] = true;
      at = position(0, 0, most_blocks, 1);
      return;
    }
    finish(memory, index(slot), at, step);
  }

  /// Gives the slot its next stream. One that has none parses what is left of another.
  void take(int slot) {
    std::uint8_t* const memory = memory_;
    std::size_t bytes = 0;
    std::size_t blocks = places_.max_blocks();
    is_busy_[index(slot)] = source_.take(slot, bytes, blocks);
    is_malformed_[index(slot)] = false;
    busy_ += is_busy_[index(slot)];
    const std::uint64_t first_block = most_blocks - blocks;
    if constexpr (Syntax::base_sent) {
      put_base(memory, index(slot), first_block, stream_window(memory + places_.stream(slot), 0));
    }
    positions_[index(slot)] = position(8 * places_.stream(slot) + syntax_.base_bits,
                                       places_.lanes(slot), first_block, syntax_.planes);
    end_[index(slot)] = 8 * (places_.stream(slot) + bytes);
  }

  /// Ends the slot's stream, which has all its blocks or is malformed.
  void end(int slot) {
    if (is_busy_[index(slot)]) {
      const std::uint64_t memory = 8 * address(memory_);
      const std::uint64_t bit = bit_of(positions_[index(slot)]) - syntax_.base_bits;
      --busy_;
      source_.done(slot, !is_malformed_[index(slot)] &&
                             is_padding(memory + bit, memory + end_[index(slot)]));
    }
    take(slot);
  }

  using Rows = PlaneRows<Group, Syntax>;

  const Syntax& syntax_;
  const Rows rows_;
  const Memory& places_;
  std::uint8_t* const memory_;
  Source& source_;
  RepeatedPlanes<Group, Syntax> repeated_;
  int busy_ = 0;  // slots with a stream
  std::array<Position, slots> positions_;
  std::array<Position, slots> before_;    // before the last step
  std::array<std::uint64_t, slots> end_;  // of the stream, in bits
  std::array<bool, slots> is_busy_;
  std::array<bool, slots> is_malformed_;
};

}  // namespace
}  // namespace ebpc
