// Decoding of many jobs.
//
// Within one stream each code's place depends on the one before, so that a single job leaves most
// of a core idle. Several jobs are therefore read in turns:
// 1. zero streams become masks: zero_masks.h;
// 2. plane streams become non-zero words: plane_lanes.h, or in the portable kernel
//    plane_lanes_8x8.h for the setting that most use; a mask puts them in their places as soon as
//    all are there: unpack_words.h.
// Turns are only taken where no output can end, nor what may be read of a stream; the ends are
// dealt with job by job. A job in which anything is wrong is handed back: decode_portable says
// what.
//
// This is plain C++, compiled once for every instruction set that includes it: vectors.h says how.

#pragma once

#include <cstddef>
#include <span>

#ifdef __AVX2__
#include "ebpc/kernels/avx2/unpack_words.h"
#else
#include "ebpc/kernels/generic/unpack_words.h"
#endif
#include "ebpc/kernels/generic/jobs.h"
#include "ebpc/kernels/generic/plane_lanes.h"
#include "ebpc/kernels/generic/zero_masks.h"
#include "ebpc/kernels/kernel.h"

namespace ebpc::EBPC_KERNEL {
namespace {

/// Words of a job to their places.
template <class Word>
void place_words(const DecodeJob& job, const NonzeroMask& mask, const Word* nonzero, Word zero) {
  auto* words = static_cast<Word*>(job.words.data);
  const std::size_t whole = job.words.count / 64;
  for (std::size_t i = 0; i < whole; ++i, words += 64)
    nonzero = unpack_mask(nonzero, mask.of_64(i), zero, words);
  if (const std::size_t left = job.words.count % 64; left > 0) {
    Word last_words[64];
    unpack_mask(nonzero, mask.of_64(whole), zero, last_words);
    std::memcpy(words, last_words, left * sizeof(Word));
  }
}

/// Keeps the lanes of planes busy from the first job of a batch to the last.
template <class Lane>
class JobsDecoder {
 public:
  JobsDecoder(const Parameters& p, std::span<const DecodeJob> jobs)
      : p_(p), syntax_(p), batch_(p, jobs) {
    for (std::size_t lane = 0; lane < lane_count; ++lane) {
      lanes_[lane].buffer = &buffers_[lane];
      lanes_[lane].out = &words_[lane];
    }
  }

  std::size_t run() {
    return batch_.run([this](auto jobs, NonzeroMask* masks) { read_zero_streams(p_, jobs, masks); },
                      [this] { read_planes(); });
  }

 private:
  using Word = typename Lane::Word;
  static constexpr std::size_t min_turns = 4;  // fewer are not worth looking for more

  void finish(Lane& lane) {
    lane.finish();
    if (lane.well_formed && lane.out->blocks == lane.max_blocks) {
      place_words(batch_[lane.job], batch_.mask(lane.job), lane.out->words, batch_.zero());
    } else {
      batch_.fail(lane.job);
    }
  }

  void read_planes() {
    while (true) {
      while (busy_ < lane_count) {
        const std::size_t job = batch_.take();
        if (job == batch_.none) break;
        lanes_[busy_++].start(syntax_, batch_[job], job, batch_.blocks(job));
      }
      if (busy_ < lane_count) break;
      std::size_t turns = max_job_words;
      for (const Lane& lane : lanes_) turns = min(turns, lane.safe_turns());
      if (turns >= min_turns) {
        take_turns(lanes_, turns);
        continue;
      }
      for (std::size_t lane = busy_; lane-- > 0;) {
        if (lanes_[lane].safe_turns() >= min_turns) continue;
        finish(lanes_[lane]);
        // The last lane takes its place; each keeps the memory that it has.
        const Lane finished = lanes_[lane];
        lanes_[lane] = lanes_[--busy_];
        lanes_[busy_] = finished;
      }
    }
    while (busy_ > 0) finish(lanes_[--busy_]);
  }

  const Parameters& p_;
  const typename Lane::Syntax syntax_;
  JobBatch<Word> batch_;
  std::size_t busy_ = 0;  // lanes that have a job
  Lane lanes_[lane_count];
  typename Lane::Buffer buffers_[lane_count];
  PackedWords<Word> words_[lane_count];
};

/// Decodes jobs of any setting but those with planes of 64 bits, as Kernel::decode.
std::size_t decode_any(const Parameters& p, std::span<const DecodeJob> jobs) {
  const auto decode = [&]<class Syntax>(Syntax*) {
    return JobsDecoder<PlaneLane<Syntax>>(p, jobs).run();
  };
  return visit_group<PlaneGroup>(
      jobs.front().words.bytes_per_word, p.block_size, [&]<class Group>(Group*) {
        using Word = typename Group::Word;
        constexpr int lane_bits = Group::lane_bits;
        if constexpr (lane_bits <= 16) {
          if (1 + plane_bits(p) == lane_bits) {
            return decode(static_cast<PlaneSyntax<Word, lane_bits, true>*>(nullptr));
          }
        }
        return decode(static_cast<PlaneSyntax<Word, lane_bits, false>*>(nullptr));
      });
}

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
