// What each kernel needs of an x86-64 CPU.
//
// This is the one list: the dispatcher and the tests ask these functions, and CMakeLists.txt makes
// the compiler's options for each kernel's files of the names in them.

#pragma once

#ifdef EBPC_HAVE_X86_KERNELS

namespace ebpc {

inline bool cpu_has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt") &&
         __builtin_cpu_supports("lzcnt") && __builtin_cpu_supports("pclmul") &&
         __builtin_cpu_supports("sse4.2");
}

/// Beside those of cpu_has_avx2, which it asks too.
inline bool cpu_has_avx512() {
  return cpu_has_avx2() && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd") &&
         __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") &&
         __builtin_cpu_supports("avx512bitalg") && __builtin_cpu_supports("avx512vpopcntdq") &&
         __builtin_cpu_supports("gfni") && __builtin_cpu_supports("vpclmulqdq");
}

}  // namespace ebpc

#endif
