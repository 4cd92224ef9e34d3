// Decoding with AVX-512.
//
// A batch of segments is decoded in two passes: first all zero streams, to masks of the non-zero
// words; then all plane streams, to non-zero words, which are spread in the result as soon as a
// segment has them all. Each pass keeps several segments going at once, since within one stream
// each code's place depends on the code before.

#include <algorithm>

#include "ebpc/kernels/avx512/kernel.h"
#include "ebpc/kernels/avx512/plane_pass.h"
#include "ebpc/kernels/avx512/zero_lanes.h"

namespace ebpc::avx512 {
namespace {

template <class Planes>
std::size_t decode_jobs_with(const Parameters& p, std::span<const DecodeJob> jobs) {
  thread_local ThreadMemory memory;
  std::uint8_t* const scratch =
      memory.get(std::max(ZeroPass::scratch_size(p), Planes::scratch_size(p)));
  JobBatch<typename Planes::Word> batch(p, jobs);
  return batch.run([&](auto some, NonzeroMask* masks) { ZeroPass(p, some, masks, scratch).run(); },
                   [&] { Planes(p, batch, scratch).run(); });
}

}  // namespace

std::size_t decode(const Parameters& p, std::span<const DecodeJob> jobs) {
  if (jobs.empty()) return 0;
  if (p.zero != 0 || p.block_size < 8) return avx2_kernel.decode(p, jobs);
  return visit_plane_pass(p, jobs.front().words.bytes_per_word,
                          [&]<class Planes>(Planes*) { return decode_jobs_with<Planes>(p, jobs); });
}

}  // namespace ebpc::avx512
