// CRC-32C by carry-less multiplication ("Fast CRC Computation for Generic Polynomials Using
// PCLMULQDQ Instruction", Gopal et al., 2009). Compiled with the flags that avx512.cpp names.

#include "ebpc/kernels/avx512.h"
#include "ebpc/kernels/avx512_bits.h"

namespace ebpc {
namespace {

/// x^exponent modulo the polynomial, reflected and shifted to where a product of reflected operands
/// expects it.
constexpr std::uint64_t power_of_x(int exponent) {
  std::uint32_t remainder = 0x80000000;
  for (; exponent > 0; --exponent) {
    remainder = remainder >> 1 ^ (remainder & 1 ? 0x82F63B78 : 0);
  }
  return std::uint64_t{remainder} << 1;
}

/// Multiplies the two halves of every 128 bits by what moves them `bytes` bytes on.
template <int bytes>
__m512i fold(__m512i x, __m512i next) {
  const __m512i factors =
      _mm512_broadcast_i32x4(_mm_set_epi64x(static_cast<long long>(power_of_x(8 * bytes - 32)),
                                            static_cast<long long>(power_of_x(8 * bytes + 32))));
  const __m512i low = _mm512_clmulepi64_epi128(x, factors, 0x00);
  const __m512i high = _mm512_clmulepi64_epi128(x, factors, 0x11);
  constexpr int exclusive_or = 0x96;
  return _mm512_ternarylogic_epi64(low, high, next, exclusive_or);
}

std::uint64_t load_8(const std::uint8_t* bytes) {
  std::uint64_t x;
  std::memcpy(&x, bytes, sizeof x);
  return x;
}

}  // namespace

std::uint32_t avx512::crc32c(std::uint32_t crc, const std::uint8_t* bytes, std::size_t count) {
  std::uint64_t state = ~crc;
  if (count >= 256) {
    const __m512i start = _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(~crc)));
    __m512i a = _mm512_xor_si512(load_vector(bytes), start);
    __m512i b = load_vector(bytes + 64);
    __m512i c = load_vector(bytes + 128);
    __m512i d = load_vector(bytes + 192);
    for (bytes += 256, count -= 256; count >= 256; bytes += 256, count -= 256) {
      a = fold<256>(a, load_vector(bytes));
      b = fold<256>(b, load_vector(bytes + 64));
      c = fold<256>(c, load_vector(bytes + 128));
      d = fold<256>(d, load_vector(bytes + 192));
    }
    a = fold<64>(fold<64>(fold<64>(a, b), c), d);
    for (; count >= 64; bytes += 64, count -= 64) a = fold<64>(a, load_vector(bytes));
    // What is left has the same remainder as all bytes so far.
    std::uint8_t folded[64];
    store_vector(folded, a);
    state = 0;
    for (int i = 0; i < 64; i += 8) state = _mm_crc32_u64(state, load_8(folded + i));
  }
  for (; count >= 8; bytes += 8, count -= 8) state = _mm_crc32_u64(state, load_8(bytes));
  auto rest = static_cast<std::uint32_t>(state);
  for (; count > 0; ++bytes, --count) rest = _mm_crc32_u8(rest, *bytes);
  return ~rest;
}

}  // namespace ebpc
