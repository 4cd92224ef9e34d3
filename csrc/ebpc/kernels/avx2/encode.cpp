// Encoding and counting with AVX2.

#include "ebpc/kernels/generic/encode.h"

#include "ebpc/kernels/avx2/kernel.h"
#include "ebpc/kernels/avx2/plane_counter_8x8.h"
#include "ebpc/kernels/avx2/planes_8x8.h"
#include "ebpc/kernels/generic/vectors.h"

namespace ebpc::avx2 {

StreamBits encode(const Parameters& p, WordSpan words, std::uint8_t* zero_stream,
                  std::uint8_t* plane_stream) {
  if (plane_bits(p) == 64) return portable_kernel.encode(p, words, zero_stream, plane_stream);
  const CleanUpperHalves clean;
  if (is_common_setting(p, words.bytes_per_word))
    return encode_segment<PlaneWriter8x8>(p, words, zero_stream, plane_stream);
  return encode_any_segment(p, words, zero_stream, plane_stream);
}

StreamBits count(const Parameters& p, WordSpan words) {
  if (plane_bits(p) == 64) return portable_kernel.count(p, words);
  const CleanUpperHalves clean;
  if (is_common_setting(p, words.bytes_per_word)) return count_segment<PlaneCounter8x8>(p, words);
  return count_any_segment(p, words);
}

std::uint64_t encode_bpc(const Parameters& p, WordSpan words, std::uint8_t* plane_stream) {
  if (plane_bits(p) == 64) return portable_kernel.encode_bpc(p, words, plane_stream);
  const CleanUpperHalves clean;
  return encode_any_bpc(p, words, plane_stream);
}

std::uint64_t count_bpc(const Parameters& p, WordSpan words) {
  if (plane_bits(p) == 64) return portable_kernel.count_bpc(p, words);
  const CleanUpperHalves clean;
  return count_any_bpc(p, words);
}

}  // namespace ebpc::avx2
