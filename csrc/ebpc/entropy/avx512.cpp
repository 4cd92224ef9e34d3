// Entropy coding with AVX-512.

#include "ebpc/entropy/segment_coder.h"

namespace ebpc {

const EntropyKernel avx512_entropy_kernel{avx512::encode_segment, avx512::decode_segments};

}  // namespace ebpc
