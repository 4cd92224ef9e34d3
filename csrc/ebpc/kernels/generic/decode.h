// Decoding of many jobs.
//
// Within one stream each code's place depends on the one before, so that a single job leaves most
// of a core idle. Several jobs are therefore read in turns:
// 1. plane streams become non-zero words: plane_lanes.h, or plane_lanes_8x8.h for the setting that
//    most use;
// 2. zero streams put the words in their places: zero_lanes.h.
// Turns are only taken where no stream and no output can end; the ends are dealt with job by job. A
// job in which anything is wrong is handed back: decode_portable says what.
//
// This is plain C++, compiled once for every instruction set that includes it: vectors.h says how.

#pragma once

#include <cstddef>
#include <span>

#include "ebpc/kernels/generic/job_lanes.h"
#include "ebpc/kernels/generic/plane_lanes.h"
#include "ebpc/kernels/generic/zero_lanes.h"
#include "ebpc/kernels/kernel.h"

namespace ebpc::EBPC_KERNEL {
namespace {

/// Keeps both kinds of lanes busy from the first job to the last.
template <class PlaneLane>
class JobsDecoder {
 public:
  JobsDecoder(const Parameters& p, std::span<const DecodeJob> jobs)
      : p_(p), syntax_(p), jobs_(jobs), failed_(jobs.size()) {
    for (std::size_t i = 0; i < slot_count; ++i) free_[i] = &slots_[i];
    for (std::size_t lane = 0; lane < lane_count; ++lane) {
      lanes_of_planes_[lane].buffer = &buffers_[lane];
    }
  }

  /// Returns the first job that is handed back, or the number of jobs.
  std::size_t run() {
    do {
      read_planes();
      place_words();
    } while (may_start());
    for (std::size_t lane = 0; lane < plane_lanes_; ++lane) finish_planes(lane);
    place_words();
    for (std::size_t lane = 0; lane < zero_lanes_; ++lane) finish_words(lane);
    return failed_;
  }

 private:
  using Word = typename PlaneLane::Word;
  using Packed = PackedWords<Word>;
  static constexpr std::size_t slot_count = sizeof(Word) == 1 ? 32 : sizeof(Word) == 2 ? 16 : 12;
  static constexpr std::size_t min_turns = 4;  // fewer are not worth looking for more

  bool may_start() const { return next_job_ < failed_; }

  /// Starts the next job in this lane.
  void start_planes(std::size_t lane) {
    const DecodeJob& job = jobs_[next_job_];
    if (job.words.count > max_job_words) {
      failed_ = next_job_;
      return;
    }
    lanes_of_planes_[lane].start(syntax_, job, next_job_++, *free_[--free_count_]);
    if (next_job_ + 1 < failed_) prefetch(jobs_[next_job_ + 1]);
    ++plane_lanes_;
  }

  /// Streams follow each other in memory, but a lane gets every fourth or so: too far apart for
  /// what the CPU fetches by itself.
  static void prefetch(const DecodeJob& job) {
    constexpr std::size_t line = 64;
    for (std::size_t i = 0; i < job.plane_bytes; i += line) {
      __builtin_prefetch(job.plane_stream + i);
    }
    for (std::size_t i = 0; i < job.zero_bytes; i += line) __builtin_prefetch(job.zero_stream + i);
  }

  void finish_planes(std::size_t lane) {
    PlaneLane& it = lanes_of_planes_[lane];
    it.finish();
    if (it.well_formed) {
      ready_[ready_count_++] = {it.job, it.out};
    } else {
      hand_back(it.job, it.out);
    }
  }

  /// Reads plane streams until there is no free slot, or no job that would fill the lanes.
  void read_planes() {
    while (true) {
      while (plane_lanes_ < lane_count && may_start() && free_count_ > 0) {
        start_planes(plane_lanes_);
      }
      if (plane_lanes_ < lane_count) return;
      std::size_t turns = max_job_words;
      for (const PlaneLane& lane : lanes_of_planes_) turns = min(turns, lane.safe_turns());
      if (turns >= min_turns) {
        take_turns(lanes_of_planes_, turns);
        continue;
      }
      for (std::size_t lane = plane_lanes_; lane-- > 0;) {
        if (lanes_of_planes_[lane].safe_turns() >= min_turns) continue;
        finish_planes(lane);
        // The last lane takes its place; each keeps a buffer of its own.
        const PlaneLane finished = lanes_of_planes_[lane];
        lanes_of_planes_[lane] = lanes_of_planes_[--plane_lanes_];
        lanes_of_planes_[plane_lanes_] = finished;
      }
    }
  }

  void finish_words(std::size_t lane) {
    ZeroLane<Word>& it = lanes_of_zeros_[lane];
    if (it.finish()) {
      free_[free_count_++] = it.packed;
    } else {
      hand_back(it.job, it.packed);
    }
  }

  /// Reads zero streams until the jobs that are ready do not fill the lanes.
  void place_words() {
    while (true) {
      while (zero_lanes_ < lane_count && ready_count_ > 0) {
        const Ready& next = ready_[--ready_count_];
        lanes_of_zeros_[zero_lanes_++].start(p_, jobs_[next.job], next.job, *next.packed);
      }
      if (zero_lanes_ < lane_count) return;
      std::size_t turns = max_job_words;
      for (const ZeroLane<Word>& lane : lanes_of_zeros_) turns = min(turns, lane.safe_turns());
      if (turns >= min_turns) {
        take_turns(lanes_of_zeros_, turns);
        continue;
      }
      for (std::size_t lane = zero_lanes_; lane-- > 0;) {
        if (lanes_of_zeros_[lane].safe_turns() >= min_turns) continue;
        finish_words(lane);
        lanes_of_zeros_[lane] = lanes_of_zeros_[--zero_lanes_];
      }
    }
  }

  /// Jobs before it have been started, and will be finished; no others will be started.
  void hand_back(std::size_t job, Packed* packed) {
    failed_ = min(failed_, job);
    free_[free_count_++] = packed;
  }

  struct Ready {
    std::size_t job;
    Packed* packed;
  };

  const Parameters& p_;
  const typename PlaneLane::Syntax syntax_;
  std::span<const DecodeJob> jobs_;
  std::size_t failed_;
  std::size_t next_job_ = 0;
  PlaneLane lanes_of_planes_[lane_count];
  typename PlaneLane::Buffer buffers_[lane_count];
  std::size_t plane_lanes_ = 0;  // that have a job
  ZeroLane<Word> lanes_of_zeros_[lane_count];
  std::size_t zero_lanes_ = 0;
  Ready ready_[slot_count];
  std::size_t ready_count_ = 0;
  Packed* free_[slot_count];
  std::size_t free_count_ = slot_count;
  Packed slots_[slot_count];
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
