// Which kernel runs: chosen once, by what the CPU has or what TORCH_EBPC_KERNEL forces.

#pragma once

#include <span>
#include <string_view>

#include "ebpc/kernels/kernel.h"

namespace ebpc {

/// The kernels of this build that this CPU can run, the fastest first; the last one is "portable".
std::span<const Kernel* const> supported_kernels();

/// The kernel of that name. Throws Error(argument) that lists the names if there is none of that
/// name or this CPU cannot run it.
const Kernel& kernel_named(std::string_view name);

/// The kernel in use: what use_kernel chose, else $TORCH_EBPC_KERNEL, else the fastest that this
/// CPU can run. The environment is read once; throws as kernel_named.
const Kernel& active_kernel();

/// Makes calls that begin afterwards, in all threads, run that kernel; for tests and benchmarks.
/// Throws as kernel_named.
void use_kernel(std::string_view name);

/// The first job that failed, or jobs.size() and a status that is ok.
struct JobStatus {
  std::size_t job = 0;
  DecodeStatus status;
};

/// Decodes all jobs up to the first malformed one. Its verdict is the portable kernel's whichever
/// kernel is in use, so that all of them say the same of the same bytes.
JobStatus decode_jobs(const Kernel& kernel, const Parameters& p, std::span<const DecodeJob> jobs);
inline JobStatus decode_jobs(const Parameters& p, std::span<const DecodeJob> jobs) {
  return decode_jobs(active_kernel(), p, jobs);
}

#ifdef EBPC_HAVE_X86_KERNELS

// What each kernel needs of an x86-64 CPU. This is the one list: tests ask these functions too, and
// CMakeLists.txt makes the compiler's options for each kernel's files of the names in them.

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

#endif

}  // namespace ebpc
