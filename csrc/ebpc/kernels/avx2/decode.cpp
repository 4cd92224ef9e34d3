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
  LanesDecoder(const Parameters& p, std::span<const DecodeJob> jobs) : p_(p), batch_(p, jobs) {}

  std::size_t run() {
    return batch_.run([this](auto jobs, NonzeroMask* masks) { read_zero_streams(p_, jobs, masks); },
                      [this] { read_planes(); });
  }

 private:
  using Lanes = CodeLanes<Word>;

  void read_planes() {
    for (std::size_t lane = 0; lane < Lanes::lanes; ++lane) start(lane);
    while (busy_ > 0) {
      lanes_.run();
      for (std::size_t lane = 0; lane < Lanes::lanes; ++lane) {
        if (!lanes_.is_done(lane)) continue;
        --busy_;
        const std::size_t job = job_[lane];
        if (lanes_.words_of(lane, nonzero_.words)) {
          place_words(batch_[job], batch_.mask(job), nonzero_.words, batch_.zero());
        } else {
          batch_.fail(job);
        }
        start(lane);
      }
    }
  }

  /// Gives a lane the next job, if there is one.
  void start(std::size_t lane) {
    const std::size_t job = batch_.take();
    job_[lane] = job;
    if (job == batch_.none) return lanes_.stop(lane);
    lanes_.start(lane, batch_[job], batch_.blocks(job));
    ++busy_;
  }

  const Parameters& p_;
  JobBatch<Word> batch_;
  std::size_t busy_ = 0;  // lanes that have a job
  std::size_t job_[Lanes::lanes];
  Lanes lanes_;
  PackedWords<Word> nonzero_;
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
