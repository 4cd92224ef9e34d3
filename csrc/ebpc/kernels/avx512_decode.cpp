// Decoding with AVX-512. Compiled with the flags that avx512.cpp names.
//
// A batch of segments is decoded in two passes: first all zero streams, to masks of the non-zero
// words; then all plane streams, to non-zero words, which are spread in the result as soon as a
// segment has them all. Each pass keeps several segments going at once, since within one stream
// each code's place depends on the code before.

#include <algorithm>

#include "ebpc/kernels/avx512.h"
#include "ebpc/kernels/avx512_plane_pass.h"
#include "ebpc/kernels/avx512_zero_pass.h"

namespace ebpc {
namespace {

template <class PlanePass>
std::size_t decode_jobs_with(const Parameters& p, std::span<const DecodeJob> jobs) {
  thread_local Scratch masks;
  thread_local Scratch lanes;
  Batch batch{p, {}, masks.get(Batch::max_jobs * Batch::mask_size), {}};
  std::uint8_t* const scratch =
      lanes.get(std::max(ZeroPass::scratch_size(p), PlanePass::scratch_size(p)));

  for (std::size_t first = 0; first < jobs.size();) {
    if (jobs[first].words.count > longest_job) {
      if (!decode_portable(p, jobs[first]).ok()) return first;
      ++first;
      continue;
    }
    std::size_t count = 1;
    while (count < Batch::max_jobs && first + count < jobs.size() &&
           jobs[first + count].words.count <= longest_job) {
      ++count;
    }
    batch.jobs = jobs.subspan(first, count);
    ZeroPass(batch, scratch).run();
    PlanePass(batch, scratch).run();
    for (std::size_t i = 0; i < count; ++i) {
      if (batch.nonzero[i] == Batch::malformed) return first + i;
    }
    first += count;
  }
  return jobs.size();
}

}  // namespace

std::size_t avx512::decode(const Parameters& p, std::span<const DecodeJob> jobs) {
  if (jobs.empty()) return 0;
  return visit_plane_pass(p, jobs.front().words.bytes_per_word, [&]<class PlanePass>(PlanePass*) {
    return decode_jobs_with<PlanePass>(p, jobs);
  });
}

}  // namespace ebpc
