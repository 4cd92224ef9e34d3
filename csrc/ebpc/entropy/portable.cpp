// Entropy coding for any CPU.

#include "ebpc/entropy/segment_coder.h"

namespace ebpc {

const EntropyKernel portable_entropy_kernel{encode_segment, decode_segment};

}  // namespace ebpc
