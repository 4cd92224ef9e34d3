// CRC-32C by carry-less multiplication ("Fast CRC Computation for Generic Polynomials Using
// PCLMULQDQ Instruction", Gopal et al., 2009).

#pragma once

#include "ebpc/kernels/avx512/bits.h"

namespace ebpc::avx512 {
namespace {

/// x^exponent modulo the polynomial, reflected and shifted to where a product of reflected operands
/// expects it.
constexpr long long power_of_x(int exponent) {
  std::uint32_t remainder = 0x80000000;
  for (; exponent > 0; --exponent) {
    remainder = remainder >> 1 ^ (remainder & 1 ? 0x82F63B78 : 0);
  }
  return static_cast<long long>(std::uint64_t{remainder} << 1);
}

/// Multiplies the two halves of every 128 bits by what moves them `bytes` bytes on.
template <int bytes>
__m512i fold(__m512i x, __m512i next) {
  constexpr long long first = power_of_x(8 * bytes + 32);
  constexpr long long second = power_of_x(8 * bytes - 32);
  const __m512i factors = _mm512_broadcast_i32x4(_mm_set_epi64x(second, first));
  constexpr int exclusive_or = 0x96;
  return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(x, factors, 0x00),
                                   _mm512_clmulepi64_epi128(x, factors, 0x11), next, exclusive_or);
}

std::uint32_t crc32c(std::uint32_t start, const std::uint8_t* bytes, std::size_t count) {
  if (count < 256) return avx2_kernel.crc32c(start, bytes, count);
  __m512i a = _mm512_xor_si512(_mm512_loadu_si512(bytes),
                               _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(~start))));
  __m512i b = _mm512_loadu_si512(bytes + 64);
  __m512i c = _mm512_loadu_si512(bytes + 128);
  __m512i d = _mm512_loadu_si512(bytes + 192);
  for (bytes += 256, count -= 256; count >= 256; bytes += 256, count -= 256) {
    a = fold<256>(a, _mm512_loadu_si512(bytes));
    b = fold<256>(b, _mm512_loadu_si512(bytes + 64));
    c = fold<256>(c, _mm512_loadu_si512(bytes + 128));
    d = fold<256>(d, _mm512_loadu_si512(bytes + 192));
  }
  // What is left has the same remainder as all bytes so far.
  std::uint8_t folded[64];
  _mm512_storeu_si512(folded, fold<64>(fold<64>(fold<64>(a, b), c), d));
  const std::uint32_t crc = avx2_kernel.crc32c(~std::uint32_t{0}, folded, sizeof folded);
  return avx2_kernel.crc32c(crc, bytes, count);
}

}  // namespace
}  // namespace ebpc::avx512
