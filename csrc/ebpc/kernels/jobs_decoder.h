// Decoding of many jobs of 8-bit words in blocks of 8 behind a sent base, zero runs up to 16.
//
// Within one stream each code's place depends on the one before, so that a single job leaves most
// of a core idle. Several jobs are therefore read in turns:
// 1. plane streams: one block of each job per turn becomes eight code bytes, one per bit plane;
//    these become the non-zero words in another loop, which is the including file's;
// 2. zero streams: pairs of a stretch of non-zero words and a zero run of each job per turn put the
//    words in their places.
// Turns are only taken where no stream and no output can end; the ends are dealt with job by job. A
// job in which anything is wrong is handed back: decode_portable says what.
//
// This is plain C++, compiled once for every instruction set that includes it. All is in an unnamed
// namespace so that the linker cannot give one of them the code of another.

#pragma once

#include <cstddef>
#include <span>

#include "ebpc/kernels/kernel.h"
#include "ebpc/kernels/plane_lanes.h"
#include "ebpc/kernels/zero_lanes.h"

namespace ebpc {
namespace {

/// Keeps both kinds of lanes busy from the first job to the last.
template <class DecodeBlocks>
class JobsDecoder {
 public:
  explicit JobsDecoder(std::span<const DecodeJob> jobs) : jobs_(jobs), failed_(jobs.size()) {
    for (std::size_t i = 0; i < slot_count; ++i) free_[i] = &slots_[i];
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
  static constexpr std::size_t slot_count = 32;
  static constexpr std::size_t min_turns = 4;  // fewer are not worth looking for more

  bool may_start() const { return next_job_ < failed_; }

  /// Starts the next job in this lane.
  void start_planes(std::size_t lane) {
    const DecodeJob& job = jobs_[next_job_];
    if (job.words.count > max_job_words) {
      failed_ = next_job_;
      return;
    }
    lanes_of_planes_[lane].start(job, next_job_++, *free_[--free_count_]);
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
    PlaneLane<DecodeBlocks>& it = lanes_of_planes_[lane];
    it.finish(blocks_[lane]);
    if (it.well_formed) {
      ready_[ready_count_++] = {it.job, it.out};
    } else {
      hand_back(it.job, it.out);
    }
  }

  /// Reads plane streams until there is no free slot, or no job that would fill the lanes.
  void read_planes() {
    while (true) {
      while (plane_lanes_ < lane_count && may_start() && free_count_ > 0)
        start_planes(plane_lanes_);
      if (plane_lanes_ < lane_count) return;
      std::size_t turns = CodedBlocks::capacity;
      for (const PlaneLane<DecodeBlocks>& lane : lanes_of_planes_)
        turns = min(turns, lane.safe_blocks());
      if (turns >= min_turns) {
        read_blocks(lanes_of_planes_, blocks_, turns);
        continue;
      }
      for (std::size_t lane = plane_lanes_; lane-- > 0;) {
        if (lanes_of_planes_[lane].safe_blocks() >= min_turns) continue;
        finish_planes(lane);
        lanes_of_planes_[lane] = lanes_of_planes_[--plane_lanes_];
      }
    }
  }

  void finish_words(std::size_t lane) {
    ZeroLane& it = lanes_of_zeros_[lane];
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
        lanes_of_zeros_[zero_lanes_++].start(jobs_[next.job], next.job, *next.packed);
      }
      if (zero_lanes_ < lane_count) return;
      std::size_t turns = max_job_words;
      for (const ZeroLane& lane : lanes_of_zeros_) turns = min(turns, lane.safe_turns());
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
  void hand_back(std::size_t job, PackedWords* packed) {
    failed_ = min(failed_, job);
    free_[free_count_++] = packed;
  }

  struct Ready {
    std::size_t job;
    PackedWords* packed;
  };

  std::span<const DecodeJob> jobs_;
  std::size_t failed_;
  std::size_t next_job_ = 0;
  PlaneLane<DecodeBlocks> lanes_of_planes_[lane_count];
  CodedBlocks blocks_[lane_count];
  std::size_t plane_lanes_ = 0;  // that have a job
  ZeroLane lanes_of_zeros_[lane_count];
  std::size_t zero_lanes_ = 0;
  Ready ready_[slot_count];
  std::size_t ready_count_ = 0;
  PackedWords* free_[slot_count];
  std::size_t free_count_ = slot_count;
  PackedWords slots_[slot_count];
};

}  // namespace
}  // namespace ebpc
