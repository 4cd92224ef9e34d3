// The functions of the AVX-512 kernel, for avx512.cpp to put together.

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
std::uint32_t crc32c(std::uint32_t crc, const std::uint8_t* bytes, std::size_t count);

}  // namespace ebpc::avx512
