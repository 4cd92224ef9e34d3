#include "ebpc/kernels/dispatch.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <string>
#include <vector>

#include "ebpc/error.h"

namespace ebpc {
namespace {

struct Implementation {
  const Kernel* kernel;
  bool (*supported)();
};

/// All kernels of this build, the fastest first.
constexpr std::array implementations{
#ifdef EBPC_HAVE_X86_KERNELS
    Implementation{&avx512_kernel, cpu_has_avx512},
    Implementation{&avx2_kernel, cpu_has_avx2},
#endif
    Implementation{&portable_kernel, [] { return true; }},
};

std::atomic<const Kernel*> chosen{nullptr};

const Kernel& default_kernel() {
  const char* forced = std::getenv("TORCH_EBPC_KERNEL");
  return forced != nullptr ? kernel_named(forced) : *supported_kernels().front();
}

}  // namespace

std::span<const Kernel* const> supported_kernels() {
  static const std::vector<const Kernel*> kernels = [] {
    std::vector<const Kernel*> found;
    for (const Implementation& each : implementations) {
      if (each.supported()) found.push_back(each.kernel);
    }
    return found;
  }();
  return kernels;
}

const Kernel& kernel_named(std::string_view name) {
  std::string names;
  for (const Kernel* kernel : supported_kernels()) {
    if (kernel->name == name) return *kernel;
    names += std::string(names.empty() ? "" : ", ") + kernel->name;
  }
  const bool known =
      std::any_of(implementations.begin(), implementations.end(),
                  [&](const Implementation& each) { return each.kernel->name == name; });
  throw Error(ErrorCode::argument, "kernel (TORCH_EBPC_KERNEL) must be one of " + names +
                                       " on this CPU, got '" + std::string(name) + "'" +
                                       (known ? ", which this CPU cannot run" : ""));
}

const Kernel& active_kernel() {
  if (const Kernel* kernel = chosen.load(std::memory_order_relaxed)) return *kernel;
  static const Kernel& kernel = default_kernel();
  return kernel;
}

void use_kernel(std::string_view name) { chosen = &kernel_named(name); }

JobStatus decode_jobs(const Kernel& kernel, const Parameters& p, std::span<const DecodeJob> jobs) {
  for (std::size_t done = 0; done < jobs.size();) {
    done += kernel.decode(p, jobs.subspan(done));
    if (done == jobs.size()) break;
    const DecodeStatus status = decode_portable(p, jobs[done]);
    if (!status.ok()) return {done, status};
    ++done;
  }
  return {jobs.size(), {}};
}

}  // namespace ebpc
