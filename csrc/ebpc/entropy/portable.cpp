// Entropy coding for any CPU.

#include "ebpc/entropy/segment_coder.h"

namespace ebpc {

const EntropyKernel portable_entropy_kernel{generic::encode_segment, generic::decode_segments};

}  // namespace ebpc
