// The AVX-512 kernel, put together.

#include "ebpc/kernels/avx512/kernel.h"

#include "ebpc/kernels/avx2/kernel.h"

namespace ebpc {

const Kernel avx512_kernel{"avx512", avx512::encode, avx512::count, avx512::decode, avx2::crc32c};

}  // namespace ebpc
