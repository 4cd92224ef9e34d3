// Decoding with AVX2.

#include "ebpc/kernels/generic/decode.h"

#include "ebpc/kernels/avx2/kernel.h"
#include "ebpc/kernels/avx2/plane_lanes.h"

namespace ebpc::avx2 {
namespace {

/// Decodes jobs of the settings of CodeLanes.
template <class Word>
class LanesDecoder {
 public:
  LanesDecoder(const Parameters& p, std::span<const DecodeJob> jobs)
      : p_(p), jobs_(jobs), failed_(jobs.size()) {}

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
  static constexpr std::size_t batch_jobs = 64;
  static constexpr std::size_t none = ~std::size_t{0};
  using Lanes = CodeLanes<Word>;

  void place(std::size_t job) {
    place_words(jobs_[job], masks_[job % batch_jobs], nonzero_.words, static_cast<Word>(p_.zero));
  }

  /// Gives a lane the next job that has planes, if there is one.
  void start(std::size_t lane, std::size_t end) {
    job_[lane] = none;
    for (; next_job_ < end; ++next_job_) {
      const NonzeroMask& mask = masks_[next_job_ % batch_jobs];
      const bool has_planes = mask.nonzero != NonzeroMask::malformed && mask.nonzero > 0;
      if (has_planes) {
        lanes_.start(lane, jobs_[next_job_], mask.nonzero);
        job_[lane] = next_job_++;
        ++busy_;
        return;
      }
      if (mask.nonzero == 0 && jobs_[next_job_].plane_bytes == 0) {
        place(next_job_);
      } else {
        failed_ = min(failed_, next_job_);
      }
    }
    lanes_.stop(lane);
  }

  /// Reads the plane streams of jobs up to `end`, whose masks are there.
  void read_planes(std::size_t first, std::size_t end) {
    next_job_ = first;
    for (std::size_t lane = 0; lane < Lanes::lanes; ++lane) start(lane, end);
    while (busy_ > 0) {
      lanes_.run();
      for (std::size_t lane = 0; lane < Lanes::lanes; ++lane) {
        if (!lanes_.is_done(lane)) continue;
        --busy_;
        if (lanes_.words_of(lane, nonzero_.words)) {
          place(job_[lane]);
        } else {
          failed_ = min(failed_, job_[lane]);
        }
        start(lane, end);
      }
    }
  }

  const Parameters& p_;
  std::span<const DecodeJob> jobs_;
  std::size_t failed_;
  std::size_t next_job_ = 0;
  std::size_t busy_ = 0;  // lanes that have a job
  std::size_t job_[Lanes::lanes];
  Lanes lanes_;
  PackedWords<Word> nonzero_;
  NonzeroMask masks_[batch_jobs];
};

}  // namespace

std::size_t decode(const Parameters& p, std::span<const DecodeJob> jobs) {
  if (jobs.empty()) return 0;
  if (plane_bits(p) == 64) return portable_kernel.decode(p, jobs);
  const CleanUpperHalves clean;
  const int bytes_per_word = jobs.front().words.bytes_per_word;
  if (p.block_size == 8 && p.base == Base::sent && p.word_bits == 8 * bytes_per_word) {
    if (bytes_per_word == 1) return LanesDecoder<std::uint8_t>(p, jobs).run();
    if (bytes_per_word == 2) return LanesDecoder<std::uint16_t>(p, jobs).run();
  }
  return decode_any(p, jobs);
}

}  // namespace ebpc::avx2
