// The second pass of decoding: the plane streams of a batch to words, which are spread in the result
// as soon as a segment has them all.

#pragma once

#include <algorithm>

#include "ebpc/kernels/avx512_decode_batch.h"
#include "ebpc/kernels/avx512_expand.h"
#include "ebpc/kernels/avx512_plane_parser.h"
#include "ebpc/kernels/avx512_plane_words.h"

namespace ebpc {
namespace {

/// Hands out the plane streams of a batch, and puts the words that were in them in their places.
template <class Group, class Syntax>
class PlanePass {
 public:
  using Word = typename Group::Word;
  using Parser = PlaneParser<Group, Syntax, PlanePass>;
  using Memory = typename Parser::Memory;

  static std::size_t scratch_size(const Parameters& p) {
    return words_size + Memory(p, longest_job).size();
  }

  PlanePass(Batch& batch, std::uint8_t* scratch)
      : batch_(batch),
        syntax_(batch.p),
        words_(batch.p),
        places_(batch.p, longest_job),
        nonzero_(reinterpret_cast<Word*>(scratch)),
        memory_(scratch + words_size) {}

  void run() { Parser(syntax_, places_, memory_, *this).run(); }

  /// Puts the next stream where the slot's is. False if there is none.
  bool take(int slot, std::size_t& bytes, std::size_t& blocks) {
    while (started_ < batch_.jobs.size()) {
      const std::size_t job = started_++;
      if (!has_stream(job)) continue;
      bytes = batch_.jobs[job].plane_bytes;
      copy_with_zeros_behind(memory_ + places_.stream(slot), batch_.jobs[job].plane_stream,
                             bytes);
      blocks = blocks_of(job);
      job_[index(slot)] = job;
      return true;
    }
    return false;
  }

  void done(int slot, bool ok) {
    const std::size_t job = job_[index(slot)];
    const std::size_t first_block = most_blocks - blocks_of(job);
    const std::uint8_t* const bases = memory_ + places_.base(slot, first_block);
    std::uint8_t* const lanes = memory_ + places_.lanes(slot);
    // What is behind the last block is turned into words together with it.
    store_vector(lanes + blocks_of(job) * Group::block_bytes, _mm512_setzero_si512());
    if (!ok || !words_.decode(lanes, reinterpret_cast<const Word*>(bases), blocks_of(job),
                              nonzero_)) {
      batch_.nonzero[job] = Batch::malformed;
      return;
    }
    const MutableWordSpan& out = batch_.jobs[job].words;
    expand_words(batch_.mask_of(job), nonzero_, static_cast<Word*>(out.data), out.count);
  }

  /// Brings memory of words that will be written soon into the cache, some lines a step: more at a
  /// time would be waited for.
  [[gnu::always_inline]] void look_ahead() {
    constexpr std::size_t lines = 3;
    if (ahead_job_ >= batch_.jobs.size()) return;
    const MutableWordSpan& words = batch_.jobs[ahead_job_].words;
    const auto* const bytes = static_cast<const std::uint8_t*>(words.data);
    const std::size_t size = words.count * sizeof(Word);
    const std::size_t end = std::min(size, ahead_bytes_ + 64 * lines);
    for (; ahead_bytes_ < end; ahead_bytes_ += 64) __builtin_prefetch(bytes + ahead_bytes_, 1);
    if (ahead_bytes_ >= size) {
      ++ahead_job_;
      ahead_bytes_ = 0;
    }
  }

 private:
  static constexpr std::size_t words_size =
      round_up((longest_job + max_block_size + 2 * 64) * sizeof(Word));

  std::size_t blocks_of(std::size_t job) const {
    const auto block_size = static_cast<std::size_t>(batch_.p.block_size);
    return (batch_.nonzero[job] + block_size - 1) / block_size;
  }

  /// Whether the job has a plane stream to be parsed. One without non-zero words is decoded here.
  bool has_stream(std::size_t job) {
    std::size_t& nonzero = batch_.nonzero[job];
    if (nonzero == Batch::malformed) return false;
    const DecodeJob& it = batch_.jobs[job];
    if (nonzero > 0 && it.plane_bytes <= places_.max_stream_bytes()) return true;
    if (nonzero == 0 && it.plane_bytes == 0) {
      std::memset(it.words.data, 0, it.words.count * sizeof(Word));
    } else {
      nonzero = Batch::malformed;
    }
    return false;
  }

  Batch& batch_;
  const Syntax syntax_;
  const PlaneWords<Group, Syntax> words_;
  const Memory places_;
  Word* nonzero_;
  std::uint8_t* memory_;
  std::size_t started_ = 0;  // jobs
  std::array<std::size_t, Parser::slots> job_;
  std::size_t ahead_job_ = 0;    // whose words' memory is being prefetched
  std::size_t ahead_bytes_ = 0;  // of it
};

}  // namespace
}  // namespace ebpc
