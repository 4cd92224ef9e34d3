// Jobs that are decoded together, and the memory for it.

#pragma once

#include <array>
#include <span>
#include <vector>

#include "ebpc/kernels/avx512_decode_group.h"
#include "ebpc/kernels/kernel.h"

namespace ebpc {
namespace {

/// Memory of one thread that is used again by the next call.
class Scratch {
 public:
  /// At least `size` bytes, aligned; what was there before is lost if there were fewer.
  std::uint8_t* get(std::size_t size) {
    if (bytes_.size() < size + alignment) bytes_.resize(size + alignment);
    const auto address = reinterpret_cast<std::uintptr_t>(bytes_.data());
    return bytes_.data() + (-address & (alignment - 1));
  }

 private:
  std::vector<std::uint8_t> bytes_;
};

/// Some jobs, and what the first pass finds out about them.
struct Batch {
  static constexpr std::size_t max_jobs = 256;
  static constexpr std::size_t mask_size = longest_job / 8 + 64;
  static constexpr std::size_t malformed = ~std::size_t{0};

  const Parameters& p;
  std::span<const DecodeJob> jobs;
  std::uint8_t* masks;                        // of the non-zero words: mask_size bytes for each job
  std::array<std::size_t, max_jobs> nonzero;  // words of each job, or `malformed`

  std::uint8_t* mask_of(std::size_t job) const { return masks + job * mask_size; }
};

}  // namespace
}  // namespace ebpc
