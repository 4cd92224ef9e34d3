// The AVX-512 kernel: see avx512_encode.cpp and avx512_decode.cpp.
//
// The avx512*.cpp files are compiled with
//   -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd -mavx512vbmi -mavx512vbmi2 -mavx512bitalg
//   -mavx512vpopcntdq -mgfni -mvpclmulqdq -mpclmul -mbmi -mbmi2 -mlzcnt -mpopcnt
// and run only where dispatch.cpp finds all of these.

#include "ebpc/kernels/avx512.h"

namespace ebpc {

const Kernel avx512_kernel{"avx512", avx512::encode, avx512::count, avx512::decode, avx512::crc32c};

}  // namespace ebpc
