// Plane streams to words, for every setting: several streams in turn, since within one stream each
// code's place depends on the code before. A row of uncompressed planes and the symbol after it
// are one step. They become XORed bit planes, and when a stream's are all there, these become
// words.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include "ebpc/kernels/generic/jobs.h"
#include "ebpc/kernels/generic/plane_syntax.h"
#include "ebpc/parameters.h"

namespace ebpc::EBPC_KERNEL {
namespace {

/// The memory of some streams of up to max_job_words words that are parsed in turn. It lies in one
/// piece: first the bases of all streams, then for each stream its planes and its bytes.
template <class Group, std::size_t slots>
class PlaneMemory {
 public:
  using Word = typename Group::Word;

  explicit PlaneMemory(const Parameters& p)
      : max_blocks_((max_job_words + static_cast<std::size_t>(p.block_size) - 1) /
                    static_cast<std::size_t>(p.block_size)),
        lanes_bytes_(round_up((max_blocks_ + 1) * Group::block_bytes + written_after)),
        stream_bytes_(round_up(max_plane_stream_bits(p, max_job_words) / 8 + 1 + read_after)) {}

  std::size_t max_blocks() const { return max_blocks_; }
  std::size_t size() const { return lanes(slots); }

  /// The greatest size for any setting: blocks of two words of 32 bits take the most memory.
  static constexpr std::size_t most_bytes() {
    constexpr std::size_t block_bits = 32 + 33 * 6;
    constexpr std::size_t rounding = 2048;
    return base(slots, 1) + rounding +
           slots * (max_job_words / 2 * (32 + block_bits / 8 + 1) + rounding);
  }

  /// Where the base of a block goes, by the number in the position.
  static constexpr std::size_t base(std::size_t slot, std::uint64_t block) {
    return (slot * most_blocks + block) * sizeof(Word);
  }
  std::size_t lanes(std::size_t slot) const {
    return round_up(base(slots, 1) + 64) + slot * (lanes_bytes_ + stream_bytes_);
  }
  std::size_t stream(std::size_t slot) const { return lanes(slot) + lanes_bytes_; }

 private:
  // By a row of planes, and by a symbol and the zeros after it up to the end of a block.
  static constexpr std::size_t written_after = 32 * Group::lane_bytes + 2 * 64;
  static constexpr std::size_t read_after = 64;

  std::size_t max_blocks_;
  std::size_t lanes_bytes_;
  std::size_t stream_bytes_;
};

/// Planes that are zero before the XOR: after it, such a plane is the XOR of all before it. There
/// are too many of them for a branch that is guessed, and too few for each step to look at all
/// planes, so their places are noted.
template <class Syntax>
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
  static void complete(std::uint8_t* const lane) {
    // Blocks lie at multiples of their size. A top plane, which is not needed, has its place in the
    // next one.
    const std::uint8_t* at = lane - (address(lane) & (Syntax::Group::block_bytes - 1));
    if (at == lane) return;
    typename Syntax::Lane sum = 0;
    for (; at < lane; at += sizeof sum) {
      typename Syntax::Lane plane;
      std::memcpy(&plane, at, sizeof plane);
      if constexpr (Syntax::eights) plane = plane_of_code(plane);
      sum = static_cast<typename Syntax::Lane>(sum ^ plane);
    }
    if constexpr (Syntax::eights) sum |= 0x80;  // an uncompressed one
    std::memcpy(lane, &sum, sizeof sum);
  }

  std::uint8_t* lanes_[capacity];
};

/// Decodes the plane streams of a batch. Rows copies uncompressed planes to lanes:
///   Row copy(from, shift, to): those from that bit of a byte on, if there are any; what stands
///     after them in `to` is undefined
///   count(Row): how many they are, or more than there may be in a row, which is `planes`
/// Words turns the planes of blocks into words:
///   decode(lanes, bases, blocks, words): false if one of the planes is malformed
///   blocks_at_once: what is read of lanes is a multiple of it
template <class Syntax, class Rows, class Words>
class PlanePass {
 public:
  using Group = typename Syntax::Group;
  using Word = typename Group::Word;

  PlanePass(const Parameters& p, JobBatch<Word>& batch)
      : jobs_(batch),
        syntax_(p),
        rows_(syntax_),
        words_(p),
        places_(p),
        nonzero_(reinterpret_cast<Word*>(thread_memory(nonzero_bytes + places_.size()))),
        memory_(reinterpret_cast<std::uint8_t*>(nonzero_) + nonzero_bytes) {}

  void run() {
    for (std::size_t slot = 0; slot < slots; ++slot) take(slot);
    while (busy_ > 0) {
      take_steps(memory_, std::make_index_sequence<slots>());
      for (std::size_t slot = 0; slot < slots; ++slot) {
        Position& at = positions_.of[slot];
        if (is_too_far(at) && !take_careful_step(memory_, slot, at)) {
          is_malformed_[slot] = true;
          at = position(0, 0, most_blocks, 1);
        }
        if (is_at_end(at)) end(slot);
      }
    }
  }

 private:
  static constexpr std::size_t slots = 6;
  static constexpr std::size_t nonzero_bytes = JobBatch<Word>::words_bytes;
  using Memory = PlaneMemory<Group, slots>;
  static_assert(max_job_words / min_block_size < most_blocks);
  static_assert(8 * Memory::most_bytes() <= std::size_t{1} << out_bit);
  static_assert(Memory::most_bytes() <= std::size_t{1} << (block_bit - out_bit));

  struct Positions {
    Position of[slots];
  };

  struct Step {
    typename Rows::Row row;   // the uncompressed planes
    std::uint64_t window;     // of the stream, after these
    std::uint64_t code_bits;  // in its low 6 bits, those of the symbol there
  };

  /// Takes steps in all slots, until one is at its end or went too far. In each, uncompressed
  /// planes are taken, then one other symbol, as they come, and the next block's base if they
  /// complete a block. Most of a step waits for what it has just looked up; so it comes in pieces,
  /// each for all slots in turn.
  template <std::size_t... slot>
  void take_steps(std::uint8_t* const memory, std::index_sequence<slot...>) {
    Positions at = positions_;
    Positions before;
    std::size_t repeated = 0;
    Position any;
    do {
      Step steps[slots];
      (take_row(memory, at.of[slot], steps[slot]), ...);
      before = at;
      (find_symbol(memory, at.of[slot], steps[slot]), ...);
      (put_symbol(memory, at.of[slot], steps[slot], repeated), ...);
      (finish_step(memory, slot, at.of[slot], steps[slot]), ...);
      any = (at.of[slot] | ...);
      jobs_.look_ahead();
    } while (!is_too_far(any) && !is_at_end(any) && repeated + slots <= repeated_.capacity);
    positions_ = at;
    before_ = before;
    repeated_.complete(repeated);
  }

  [[gnu::always_inline]] void take_row(std::uint8_t* memory, Position at, Step& step) const {
    step.row = rows_.copy(memory + byte_of(at), at & 7, memory + out_of(at));
  }

  [[gnu::always_inline]] void find_symbol(const std::uint8_t* memory, Position& at,
                                          Step& step) const {
    at += rows_.count(step.row) * syntax_.raw_step;
    step.window = window(memory + byte_of(at), at & 7);
  }

  [[gnu::always_inline]] void put_symbol(std::uint8_t* memory, Position& at, Step& step,
                                         std::size_t& repeated) {
    const auto& symbol = syntax_.symbols[step.window >> syntax_.symbol_shift];
    std::uint8_t* const to = memory + out_of(at);
    // Its first plane, and zeros after it up to the end of the block.
    Vector<std::remove_cvref_t<decltype(symbol.lane)>> first{};
    first[0] = symbol.lane;
    store_vector(to, first);
    for (std::size_t i = vector_bytes; i < Group::block_bytes; i += vector_bytes)
      store_vector(to + i, Qwords{});
    repeated_.note(repeated, to, symbol.repeats);
    at += symbol.step;
    step.code_bits = symbol.step;
  }

  [[gnu::always_inline]] void finish_step(std::uint8_t* memory, std::size_t slot, Position& at,
                                          const Step& step) const {
    // If that was the block's end, a base follows.
    if constexpr (Syntax::base_sent)
      put_base(memory, slot, block_of(at) + 1, step.window << (step.code_bits & 63));
    const auto ends =
        static_cast<std::uint64_t>((static_cast<std::int64_t>(left_of(at)) - 1) >> 63);
    at += syntax_.block_step & ends;
  }

  /// Stores the base with which `window` begins.
  [[gnu::always_inline]] void put_base(std::uint8_t* memory, std::size_t slot, std::uint64_t block,
                                       std::uint64_t window) const {
    const auto word = static_cast<Word>(window >> syntax_.base_shift);
    std::memcpy(memory + Memory::base(slot, block), &word, sizeof word);
  }

  /// Takes the last step of a slot, which went too far, once more: by a row that seems to go on
  /// after the block, or by a malformed symbol. Returns false if it is malformed.
  [[gnu::noinline]] bool take_careful_step(std::uint8_t* const memory, std::size_t slot,
                                           Position& at) {
    at = before_.of[slot];
    Step step;
    take_row(memory, at, step);
    const std::uint64_t row = min(rows_.count(step.row), rows_.planes);
    const std::uint64_t left = left_of(at);
    if (row < left) {
      // A symbol, unless the row is only a full one.
      at += row * syntax_.raw_step;
      step.window = window(memory + byte_of(at), at & 7);
      std::size_t repeated = 0;
      put_symbol(memory, at, step, repeated);
      repeated_.complete(repeated);
    } else {
      at += left * syntax_.raw_step;
      step.window = window(memory + byte_of(at), at & 7);
      step.code_bits = 0;
      if constexpr (Syntax::eights) {
        // Neither the top plane's code is kept, nor may what the row has copied from after the
        // block stand where a block of fewer planes has none.
        const std::uint8_t top = memory[out_of(at) - 1];
        if (top < 0x80 && plane_of_code(top) >= 0x80) return false;
        std::memset(memory + out_of(at), 0, Group::block_bytes);
      }
    }
    if (is_too_far(at)) return false;
    finish_step(memory, slot, at, step);
    return true;
  }

  /// Gives the slot its next stream. One that has none parses what is left of another.
  void take(std::size_t slot) {
    std::uint8_t* const stream = memory_ + places_.stream(slot);
    std::size_t bytes = 0;
    std::size_t blocks = places_.max_blocks();
    const std::size_t job = jobs_.take(stream);
    job_[slot] = job;
    is_malformed_[slot] = false;
    if (job != jobs_.none) {
      ++busy_;
      bytes = jobs_.stream_bytes(job);
      blocks = jobs_.blocks(job);
    }
    if constexpr (Syntax::base_sent)
      put_base(memory_, slot, most_blocks - blocks, window(stream, 0));
    const std::size_t first_bit = 8 * places_.stream(slot);
    positions_.of[slot] = position(first_bit + syntax_.base_bits, places_.lanes(slot),
                                   most_blocks - blocks, syntax_.planes);
    end_[slot] = first_bit + 8 * bytes;
  }

  /// Ends the slot's stream, which has all its blocks or is malformed.
  void end(std::size_t slot) {
    if (job_[slot] != jobs_.none) {
      const std::uint64_t memory = 8 * address(memory_);
      const std::uint64_t bit = bit_of(positions_.of[slot]) - syntax_.base_bits;
      --busy_;
      finish(slot, !is_malformed_[slot] && is_padding(memory + bit, memory + end_[slot]));
    }
    take(slot);
  }

  /// Turns the slot's planes and bases into words.
  void finish(std::size_t slot, bool ok) {
    const std::size_t job = job_[slot];
    const std::size_t blocks = jobs_.blocks(job);
    const std::uint8_t* const bases = memory_ + Memory::base(slot, most_blocks - blocks);
    std::uint8_t* const lanes = memory_ + places_.lanes(slot);
    // What is after the last block is turned into words together with it. The stream, of which
    // that may be the memory, is done with.
    std::memset(lanes + blocks * Group::block_bytes, 0,
                (Words::blocks_at_once - 1) * Group::block_bytes);
    ok = ok && words_.decode(lanes, reinterpret_cast<const Word*>(bases), blocks, nonzero_);
    jobs_.finish(job, ok, nonzero_);
  }

  JobBatch<Word>& jobs_;
  const Syntax syntax_;
  const Rows rows_;
  const Words words_;
  const Memory places_;
  Word* const nonzero_;         // words of the job that is being finished
  std::uint8_t* const memory_;  // of the streams
  int busy_ = 0;                // slots with a stream
  Positions positions_;
  Positions before_;  // the last step
  RepeatedPlanes<Syntax> repeated_;
  std::uint64_t end_[slots];  // of the stream, in bits
  std::size_t job_[slots];    // or none
  bool is_malformed_[slots];
};

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
