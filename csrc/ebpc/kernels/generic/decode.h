// Decoding of many jobs.
//
// Within one stream each code's place depends on the one before, so that a single job leaves most
// of a core idle. Several jobs are therefore read in turns:
// 1. zero streams become masks: zero_masks.h;
// 2. plane streams become non-zero words: plane_lanes.h, or plane_lanes_8x8.h for the setting that
//    most use; a mask puts them in their places as soon as all are there: unpack_words.h.
// Turns are only taken where no stream and no output can end; the ends are dealt with job by job. A
// job in which anything is wrong is handed back: decode_portable says what.
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
#include "ebpc/kernels/generic/job_lanes.h"
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

/// Keeps the lanes of planes busy from the first job to the last.
template <class PlaneLane>
class JobsDecoder {
 public:
  JobsDecoder(const Parameters& p, std::span<const DecodeJob> jobs)
      : p_(p), syntax_(p), jobs_(jobs), failed_(jobs.size()) {
    for (std::size_t lane = 0; lane < lane_count; ++lane) {
      lanes_[lane].buffer = &buffers_[lane];
      lanes_[lane].out = &words_[lane];
    }
  }

  /// Returns the first job that is handed back, or the number of jobs.
  std::size_t run() {
    for (std::size_t first = 0; first < failed_; first += batch_jobs) {
      std::size_t count = 0;
      while (count < batch_jobs && first + count < jobs_.size() &&
             jobs_[first + count].words.count <= max_job_words) {
        ++count;
      }
      read_zero_streams(p_, jobs_.subspan(first, count), masks_);
      read_planes(first, first + count);
      if (count < batch_jobs) failed_ = min(failed_, first + count);
    }
    return failed_;
  }

 private:
  using Word = typename PlaneLane::Word;
  static constexpr std::size_t batch_jobs = 32;
  static constexpr std::size_t min_turns = 4;  // fewer are not worth looking for more

  /// Starts the next job that has planes, or returns false.
  bool start(std::size_t end) {
    while (next_job_ < end) {
      const std::size_t job = next_job_++;
      const NonzeroMask& mask = masks_[job % batch_jobs];
      if (mask.nonzero == NonzeroMask::malformed) {
        failed_ = min(failed_, job);
      } else if (mask.nonzero > 0) {
        lanes_[busy_++].start(syntax_, jobs_[job], job, mask.nonzero);
        return true;
      } else if (jobs_[job].plane_bytes > 0) {
        failed_ = min(failed_, job);
      } else {
        place_words(jobs_[job], mask, words_[0].words, static_cast<Word>(p_.zero));
      }
    }
    return false;
  }

  void finish(PlaneLane& lane) {
    lane.finish();
    if (lane.well_formed && lane.out->blocks == lane.max_blocks) {
      place_words(jobs_[lane.job], masks_[lane.job % batch_jobs], lane.out->words,
                  static_cast<Word>(p_.zero));
    } else {
      failed_ = min(failed_, lane.job);
    }
  }

  /// Reads the plane streams of jobs up to `end`, whose masks are there.
  void read_planes(std::size_t first, std::size_t end) {
    next_job_ = first;
    while (true) {
      while (busy_ < lane_count && start(end)) {
      }
      if (busy_ < lane_count) break;
      std::size_t turns = max_job_words;
      for (const PlaneLane& lane : lanes_) turns = min(turns, lane.safe_turns());
      if (turns >= min_turns) {
        take_turns(lanes_, turns);
        continue;
      }
      for (std::size_t lane = busy_; lane-- > 0;) {
        if (lanes_[lane].safe_turns() >= min_turns) continue;
        finish(lanes_[lane]);
        // The last lane takes its place; each keeps the memory that it has.
        const PlaneLane finished = lanes_[lane];
        lanes_[lane] = lanes_[--busy_];
        lanes_[busy_] = finished;
      }
    }
    while (busy_ > 0) finish(lanes_[--busy_]);
  }

  const Parameters& p_;
  const typename PlaneLane::Syntax syntax_;
  std::span<const DecodeJob> jobs_;
  std::size_t failed_;
  std::size_t next_job_ = 0;
  std::size_t busy_ = 0;  // lanes that have a job
  PlaneLane lanes_[lane_count];
  typename PlaneLane::Buffer buffers_[lane_count];
  PackedWords<Word> words_[lane_count];
  NonzeroMask masks_[batch_jobs];
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
