// Decoding with AVX2.

#include "ebpc/kernels/generic/decode.h"

#include "ebpc/kernels/avx2/kernel.h"
#include "ebpc/kernels/generic/plane_lanes_8x8.h"
#include "ebpc/kernels/generic/vectors.h"

namespace ebpc::avx2 {
namespace {

/// Byte shuffles for DecodeBlocks.
struct Shuffle {
  static Qwords x_of_codes(Qwords codes) {
    const auto c = reinterpret_cast<__m256i>(codes);
    const __m256i x_of_index = _mm256_broadcastsi128_si256(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(w8_n8::indexed_x)));
    return reinterpret_cast<Qwords>(
        _mm256_blendv_epi8(_mm256_shuffle_epi8(x_of_index, c), _mm256_add_epi8(c, c), c));
  }

  static Qwords restart_at_zero_planes(Qwords planes, Qwords zero_plane) {
    const Qwords upper_half{0, 8 * w8_n8::every_byte, 0, 8 * w8_n8::every_byte};
    return planes ^ reinterpret_cast<Qwords>(
                        _mm256_shuffle_epi8(reinterpret_cast<__m256i>(planes),
                                            reinterpret_cast<__m256i>(zero_plane | upper_half)));
  }
};

}  // namespace

std::size_t decode(const Parameters& p, std::span<const DecodeJob> jobs) {
  if (jobs.empty()) return 0;
  if (plane_bits(p) == 64) return portable_kernel.decode(p, jobs);
  const CleanUpperHalves clean;
  if (is_common_setting(p, jobs.front().words.bytes_per_word)) {
    return JobsDecoder<w8_n8::PlaneLane<w8_n8::DecodeBlocks<Shuffle>>>(p, jobs).run();
  }
  return decode_any(p, jobs);
}

}  // namespace ebpc::avx2
