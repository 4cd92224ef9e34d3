// Encoding and counting for every setting, as AVX2 has it.

#include "ebpc/kernels/avx2.h"
#include "ebpc/kernels/avx2_pack_words.h"
#include "ebpc/kernels/segment_encoder.h"

namespace ebpc::avx2 {

StreamBits encode_any(const Parameters& p, WordSpan words, std::uint8_t* zero_stream,
                      std::uint8_t* plane_stream) {
  return encode_segment(p, words, zero_stream, plane_stream);
}

StreamBits count_any(const Parameters& p, WordSpan words) { return count_segment(p, words); }

}  // namespace ebpc::avx2
