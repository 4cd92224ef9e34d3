// The parts of the AVX2 kernel, and what they share.
//
// All that is compiled for these instructions beyond the functions declared here is in unnamed
// namespaces, and what it uses of other headers is data or gets inlined: an inline function that
// these files emit under a name that others know could replace theirs when the library is linked,
// and then fail on a CPU without these instructions.

#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "ebpc/kernels/kernel.h"

namespace ebpc::avx2 {

// As those of Kernel.

StreamBits encode(const Parameters& p, WordSpan words, std::uint8_t* zero_stream,
                  std::uint8_t* plane_stream);
StreamBits count(const Parameters& p, WordSpan words);
std::size_t decode(const Parameters& p, std::span<const DecodeJob> jobs);
std::uint32_t crc32c(std::uint32_t crc, const std::uint8_t* bytes, std::size_t count);

namespace {

/// Clears the upper halves of the vector registers at the end of a scope. Compilers do so at the
/// end of functions with AVX instructions, but g++ 12 misses some, and code without them, which may
/// be the caller's, then runs a quarter slower.
struct CleanUpperHalves {
  CleanUpperHalves() = default;
  CleanUpperHalves(const CleanUpperHalves&) = delete;
  CleanUpperHalves& operator=(const CleanUpperHalves&) = delete;
  ~CleanUpperHalves() { _mm256_zeroupper(); }
};

}  // namespace

}  // namespace ebpc::avx2
