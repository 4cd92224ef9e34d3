// What the lanes of decode.h share: windows into streams, and a job's non-zero words.
//
// Plain C++, compiled once for every instruction set that includes it: vectors.h says how.

#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ebpc/kernels/generic/vectors.h"

namespace ebpc::EBPC_KERNEL {
namespace {

constexpr std::size_t max_job_words = 4096;  // longer jobs are handed back
constexpr std::size_t packed_slack = 64;     // words
constexpr std::size_t lane_count = 4;        // jobs that are read in turns

/// At least 57 bits from `bit` on, left-justified. Eight bytes from that bit's byte are read.
[[gnu::always_inline]] inline std::uint64_t window(const std::uint8_t* bytes, std::uint64_t bit) {
  std::uint64_t x;
  std::memcpy(&x, bytes + bit / 8, sizeof x);
  if constexpr (std::endian::native != std::endian::big) x = __builtin_bswap64(x);
  return x << (bit % 8);
}

[[gnu::always_inline]] inline unsigned leading_zeros(std::uint64_t x) {
  return static_cast<unsigned>(__builtin_clzll(x));
}

/// The non-zero words of one job, in blocks.
template <class Word>
struct PackedWords {
  alignas(32) Word words[max_job_words + packed_slack];
  std::size_t blocks;
};

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
