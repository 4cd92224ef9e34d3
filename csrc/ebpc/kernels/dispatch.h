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

}  // namespace ebpc
