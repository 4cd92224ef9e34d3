// Small things that the parts of the AVX2 encoder share.
//
// Unnamed namespace: avx2.h says why.

#pragma once

#include <immintrin.h>

#include <cstdint>

namespace ebpc::avx2 {
namespace {

std::uint64_t shift_left(std::uint64_t x, unsigned count) { return x << (count & 63); }

__m256i broadcast(unsigned byte) { return _mm256_set1_epi8(static_cast<char>(byte)); }

}  // namespace
}  // namespace ebpc::avx2
