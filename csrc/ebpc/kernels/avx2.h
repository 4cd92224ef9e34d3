// The parts of the AVX2 kernel, and what they share.
//
// Files named avx2* are compiled with -mavx2 -mbmi -mbmi2 -mpopcnt -mlzcnt -mpclmul -msse4.2. All
// that they define beyond the functions declared here is in unnamed namespaces, and what they use
// of other headers is data or gets inlined: an inline function that these files emit under a name
// that others know could replace theirs when the library is linked, and then fail on a CPU without
// these instructions.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ebpc/kernels/kernel.h"

namespace ebpc::avx2 {

// As those of Kernel. Planes have less than 64 bits.

StreamBits encode(const Parameters& p, WordSpan words, std::uint8_t* zero_stream,
                  std::uint8_t* plane_stream);
StreamBits count(const Parameters& p, WordSpan words);
std::uint64_t encode_bpc(const Parameters& p, WordSpan words, std::uint8_t* plane_stream);
std::uint64_t count_bpc(const Parameters& p, WordSpan words);
std::size_t decode(const Parameters& p, std::span<const DecodeJob> jobs);

}  // namespace ebpc::avx2
