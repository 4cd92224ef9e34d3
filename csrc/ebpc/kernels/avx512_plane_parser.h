// Plane streams back to XORed bit planes, for every setting: several streams in turn, since within
// one stream each code's place depends on the code before.
//
// What one step is depends on the width of planes. Everything about a stream's position is in one
// number, so that it moves on by one addition.

#pragma once

#include <array>
#include <utility>

#include "ebpc/kernels/avx512_plane_pair_steps.h"
#include "ebpc/kernels/avx512_plane_row_steps.h"

namespace ebpc {
namespace {

/// Parses streams that `Source` hands out:
///   bool take(int slot, std::size_t& bytes, std::size_t& blocks)
///     puts the next stream, of at least one block, where the slot's is; false if there is none
///   void look_ahead()   called between steps, to prefetch what comes next
///   void done(int slot, bool ok)   all blocks' planes and bases are in the slot's memory
template <class Group, class Syntax, class Source>
class PlaneParser {
 public:
  using Word = typename Group::Word;
  using Steps = std::conditional_t<Syntax::pairs, PlanePairSteps<Group, Syntax>,
                                   PlaneRowSteps<Group, Syntax>>;
  using Memory = typename Steps::Memory;
  static constexpr int slots = Steps::slots;
  static_assert(longest_job / min_block_size < most_blocks);
  static_assert(8 * Memory::most_bytes() <= std::size_t{1} << out_bit);
  static_assert(Memory::most_bytes() <= std::size_t{1} << (block_bit - out_bit));

  PlaneParser(const Syntax& syntax, const Memory& places, std::uint8_t* memory, Source& source)
      : syntax_(syntax), steps_(syntax), places_(places), memory_(memory), source_(source) {
    for (int slot = 0; slot < slots; ++slot) take(slot);
  }

  void run() {
    while (busy_ > 0) {
      steps_.run(memory_, positions_, [&] { source_.look_ahead(); });
      for (int slot = 0; slot < slots; ++slot) {
        Position& at = positions_[index(slot)];
        if (!steps_.settle(memory_, slot, at)) {
          is_malformed_[index(slot)] = true;
          at = position(0, 0, most_blocks, 1);
        }
        if (is_at_end(at)) end(slot);
      }
    }
  }

 private:
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
      Memory::put_base(memory, index(slot), first_block,
                       stream_window(memory + places_.stream(slot), 0), syntax_.base_shift);
    }
    positions_[index(slot)] = Steps::begin(syntax_, 8 * places_.stream(slot) + syntax_.base_bits,
                                           places_.lanes(slot), first_block);
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

  const Syntax& syntax_;
  Steps steps_;
  const Memory& places_;
  std::uint8_t* const memory_;
  Source& source_;
  int busy_ = 0;  // slots with a stream
  std::array<Position, slots> positions_;
  std::array<std::uint64_t, slots> end_;  // of the stream, in bits
  std::array<bool, slots> is_busy_;
  std::array<bool, slots> is_malformed_;
};

}  // namespace
}  // namespace ebpc
