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

/// Words of 8 bits in blocks of 8 behind a sent base, zero runs of at most 16: the setting that the
/// special encoder and decoder are made for. Signed or unsigned.
inline constexpr int fast_word_bits = 8;
inline constexpr int fast_block_size = 8;
inline constexpr int fast_max_zero_run = 16;

StreamBits encode_w8_n8(bool is_signed, const std::uint8_t* words, std::size_t count,
                        std::uint8_t* zero_stream, std::uint8_t* plane_stream);
StreamBits count_w8_n8(bool is_signed, const std::uint8_t* words, std::size_t count);

StreamBits encode_any(const Parameters& p, WordSpan words, std::uint8_t* zero_stream,
                      std::uint8_t* plane_stream);
StreamBits count_any(const Parameters& p, WordSpan words);

/// As Kernel::decode. Jobs that are longer than a segment are handed back.
std::size_t decode_w8_n8(const Parameters& p, std::span<const DecodeJob> jobs);
std::size_t decode_any(const Parameters& p, std::span<const DecodeJob> jobs);

}  // namespace ebpc::avx2
