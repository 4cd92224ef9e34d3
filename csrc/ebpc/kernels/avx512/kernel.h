// The functions of the AVX-512 kernel, as those of Kernel.
//
// Other zero words than 0, and decoding of blocks of less than 8 words, are AVX2's, which every CPU
// with these instructions has.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ebpc/kernels/kernel.h"

namespace ebpc::avx512 {

StreamBits encode(const Parameters& p, WordSpan words, std::uint8_t* zero_stream,
                  std::uint8_t* plane_stream);
StreamBits count(const Parameters& p, WordSpan words);
std::size_t decode(const Parameters& p, std::span<const DecodeJob> jobs);

}  // namespace ebpc::avx512
