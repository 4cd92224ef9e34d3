// The first pass of decoding: all zero streams of a batch to masks of the non-zero words.

#pragma once

#include "ebpc/kernels/avx512_decode_batch.h"
#include "ebpc/kernels/avx512_zero_lanes.h"

namespace ebpc {
namespace {

class ZeroPass {
 public:
  using Lanes = ZeroLanes<ZeroPass>;

  static std::size_t scratch_size(const Parameters& p) { return Lanes::lanes * stream_size(p); }

  ZeroPass(Batch& batch, std::uint8_t* scratch)
      : batch_(batch), stream_size_(stream_size(batch.p)), scratch_(scratch) {}

  void run() {
    if (batch_.p.max_zero_run > 1) {
      Lanes(batch_.p, *this).run();
      return;
    }
    for (ZeroStream stream; take(0, stream);) done(0, read_mask(stream));
  }

  /// Gives the lane the next stream. False if there is none.
  bool take(int lane, ZeroStream& stream) {
    while (started_ < batch_.jobs.size()) {
      const std::size_t index = started_++;
      const DecodeJob& job = batch_.jobs[index];
      batch_.nonzero[index] = Batch::malformed;
      if (job.zero_bytes > stream_size_ - zeros_behind) continue;
      std::uint8_t* const bytes = scratch_ + static_cast<std::size_t>(lane) * stream_size_;
      copy_with_zeros_behind(bytes, job.zero_stream, job.zero_bytes);
      std::uint8_t* const mask = batch_.mask_of(index);
      std::memset(mask, 0, Batch::mask_size);
      stream = {bytes, job.zero_bytes, mask, job.words.count};
      job_[static_cast<std::size_t>(lane)] = index;
      return true;
    }
    return false;
  }

  void done(int lane, bool ok) {
    if (!ok) return;
    const std::size_t index = job_[static_cast<std::size_t>(lane)];
    batch_.nonzero[index] = count_ones(batch_.mask_of(index));
  }

 private:
  static constexpr std::size_t zeros_behind = 64;

  /// A malformed stream goes on for as long as words are missing, each taking a symbol.
  static std::size_t stream_size(const Parameters& p) {
    return round_up(longest_job * static_cast<std::size_t>(1 + zero_run_bits(p)) / 8 + 1 +
                    zeros_behind);
  }

  static std::size_t count_ones(const std::uint8_t* mask) {
    __m512i sum = _mm512_setzero_si512();
    for (std::size_t i = 0; i < longest_job / 8; i += 64) {
      sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(load_vector(mask + i)));
    }
    return static_cast<std::size_t>(_mm512_reduce_add_epi64(sum));
  }

  Batch& batch_;
  std::size_t stream_size_;
  std::uint8_t* scratch_;
  std::size_t started_ = 0;  // jobs
  std::array<std::size_t, Lanes::lanes> job_;
};

}  // namespace
}  // namespace ebpc
