// Entropy coding with AVX2 and BMI2.

#include "ebpc/entropy/segment_coder.h"

namespace ebpc {

const EntropyKernel avx2_entropy_kernel{encode_segment, decode_segment};

}  // namespace ebpc
