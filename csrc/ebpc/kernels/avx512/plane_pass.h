// Plane streams back to XORed bit planes, for every setting: several streams in turn, since within
// one stream each code's place depends on the code before.

#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include "ebpc/kernels/avx512/plane_lanes_8x8.h"
#include "ebpc/kernels/avx512/plane_rows.h"
#include "ebpc/kernels/avx512/plane_words.h"
#include "ebpc/kernels/avx512/stream_lanes.h"

namespace ebpc::avx512 {
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
  using Steps = PlaneRowSteps<Group, Syntax>;
  using Memory = typename Steps::Memory;
  static constexpr int slots = Steps::slots;
  static_assert(max_job_words / min_block_size < most_blocks);
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
      Memory::put_base(memory, index(slot), first_block, window(memory + places_.stream(slot), 0),
                       syntax_.base_shift);
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

// ---- The second pass of decoding: the plane streams of a batch to words, which are spread in the
// result as soon as a segment has them all.

/// The jobs of a batch, as they are taken one after the other.
template <class Word>
class PlaneJobs {
 public:
  PlaneJobs(const Parameters& p, JobBatch<Word>& batch)
      : batch_(batch), max_stream_bytes_(bytes_for_bits(max_plane_stream_bits(p, max_job_words))) {}

  /// Takes the next job and copies its stream, with zeros behind it. Returns batch.none if there is
  /// none.
  std::size_t take(std::uint8_t* stream) {
    while (true) {
      const std::size_t job = batch_.take();
      if (job == batch_.none) return job;
      const DecodeJob& it = batch_[job];
      if (it.plane_bytes > max_stream_bytes_) {
        batch_.fail(job);
        continue;
      }
      copy_with_zeros_behind(stream, it.plane_stream, it.plane_bytes);
      while (ahead_ < ahead_end_) look_ahead();  // a job of few words took few steps
      ahead_ = static_cast<const std::uint8_t*>(it.words.data);
      ahead_end_ = ahead_ + it.words.count * sizeof(Word);
      return job;
    }
  }

  std::size_t stream_bytes(std::size_t job) const { return batch_[job].plane_bytes; }
  std::size_t blocks(std::size_t job) const { return batch_.blocks(job); }

  /// Puts the job's non-zero words in their places, if they are well-formed.
  void finish(std::size_t job, bool ok, const Word* nonzero) {
    if (!ok) return batch_.fail(job);
    const MutableWordSpan& out = batch_[job].words;
    expand_words(batch_.mask(job).bytes, nonzero, static_cast<Word*>(out.data), out.count);
  }

  /// Brings memory of words that will be written soon into the cache, some lines at a time: more
  /// would be waited for.
  [[gnu::always_inline]] void look_ahead() {
    constexpr int lines = 2 * sizeof(Word);
    if (ahead_ >= ahead_end_) return;
    for (int i = 0; i < lines; ++i) __builtin_prefetch(ahead_ + 64 * i, 1);
    ahead_ += 64 * lines;
  }

  /// Bytes for the non-zero words of a job, in whole blocks, and some vectors of words behind them.
  static constexpr std::size_t words_bytes =
      round_up((max_job_words + max_block_size + words_written_behind) * sizeof(Word));

 private:
  JobBatch<Word>& batch_;
  std::size_t max_stream_bytes_;
  const std::uint8_t* ahead_ = nullptr;  // memory that is being prefetched
  const std::uint8_t* ahead_end_ = nullptr;
};

/// Decodes plane streams for every setting.
template <class Group, class Syntax>
class PlanePass {
 public:
  using Word = typename Group::Word;
  using Parser = PlaneParser<Group, Syntax, PlanePass>;
  using Memory = typename Parser::Memory;

  static std::size_t scratch_size(const Parameters& p) {
    return PlaneJobs<Word>::words_bytes + Memory(p).size();
  }

  PlanePass(const Parameters& p, JobBatch<Word>& batch, std::uint8_t* scratch)
      : jobs_(p, batch),
        syntax_(p),
        words_(p),
        places_(p),
        nonzero_(reinterpret_cast<Word*>(scratch)),
        memory_(scratch + PlaneJobs<Word>::words_bytes) {}

  void run() { Parser(syntax_, places_, memory_, *this).run(); }

  // For the parser.

  bool take(int slot, std::size_t& bytes, std::size_t& blocks) {
    const std::size_t job = jobs_.take(memory_ + places_.stream(slot));
    if (job == JobBatch<Word>::none) return false;
    bytes = jobs_.stream_bytes(job);
    blocks = jobs_.blocks(job);
    job_[index(slot)] = job;
    return true;
  }

  void done(int slot, bool ok) {
    const std::size_t job = job_[index(slot)];
    const std::size_t blocks = jobs_.blocks(job);
    const std::uint8_t* const bases = memory_ + places_.base(slot, most_blocks - blocks);
    std::uint8_t* const lanes = memory_ + places_.lanes(slot);
    // What is behind the last block is turned into words together with it.
    store_512(lanes + blocks * Group::block_bytes, _mm512_setzero_si512());
    ok = ok && words_.decode(lanes, reinterpret_cast<const Word*>(bases), blocks, nonzero_);
    jobs_.finish(job, ok, nonzero_);
  }

  [[gnu::always_inline]] void look_ahead() { jobs_.look_ahead(); }

 private:
  PlaneJobs<Word> jobs_;
  const Syntax syntax_;
  const RowWords<Group, Syntax> words_;
  const Memory places_;
  Word* nonzero_;         // words of the job that is being finished
  std::uint8_t* memory_;  // of the parser
  std::array<std::size_t, Parser::slots> job_;
};

/// Decodes plane streams of 8-bit words in blocks of 8 behind a base.
class PlanePass8x8 {
 public:
  using Word = std::uint8_t;
  using Lanes = PlaneLanes8x8<PlanePass8x8>;

  static std::size_t scratch_size(const Parameters& p) { return Lanes::lanes * lane_bytes(p); }

  PlanePass8x8(const Parameters& p, JobBatch<Word>& batch, std::uint8_t* scratch)
      : jobs_(p, batch), lane_bytes_(lane_bytes(p)), memory_(scratch) {}

  void run() { Lanes(*this).run(); }

  // For the lanes.

  bool take(int lane, PlaneStream8x8& stream) {
    std::uint8_t* const bytes = memory_ + index(lane) * lane_bytes_;
    const std::size_t job = jobs_.take(bytes + jobs_.words_bytes);
    if (job == JobBatch<Word>::none) return false;
    stream = {bytes + jobs_.words_bytes, jobs_.stream_bytes(job), jobs_.blocks(job), bytes};
    job_[index(lane)] = job;
    return true;
  }

  void done(int lane, bool ok) {
    jobs_.finish(job_[index(lane)], ok, memory_ + index(lane) * lane_bytes_);
  }

  [[gnu::always_inline]] void look_ahead() { jobs_.look_ahead(); }

 private:
  using Jobs = PlaneJobs<Word>;

  static std::size_t lane_bytes(const Parameters& p) {
    return Jobs::words_bytes +
           round_up(max_plane_stream_bits(p, max_job_words) / 8 + 1 + Lanes::bytes_read_behind);
  }

  Jobs jobs_;
  std::size_t lane_bytes_;
  std::uint8_t* memory_;
  std::array<std::size_t, Lanes::lanes> job_;
};

/// Calls `visit` with a null pointer to the pass for these settings.
template <class Visitor>
auto visit_plane_pass(const Parameters& p, int bytes_per_word, Visitor&& visit) {
  return visit_plane_syntax(p, bytes_per_word, [&]<class Group, class Syntax>(Group*, Syntax*) {
    if constexpr (Syntax::eights && sizeof(typename Group::Word) == 1) {
      if (p.word_bits == 8) return visit(static_cast<PlanePass8x8*>(nullptr));
    }
    return visit(static_cast<PlanePass<Group, Syntax>*>(nullptr));
  });
}

}  // namespace
}  // namespace ebpc::avx512
