// Entropy coding with AVX2 and BMI2.

#include "ebpc/entropy/segment_coder.h"

namespace ebpc {

const EntropyKernel avx2_entropy_kernel{avx2::encode_segment, avx2::decode_segments};

}  // namespace ebpc
