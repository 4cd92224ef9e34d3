// The kernel for CPUs with AVX2, BMI1, BMI2, POPCNT, LZCNT, PCLMULQDQ and SSE4.2, which all that
// have AVX2 do. How it is compiled, and what it must not define: avx2.h.

#include "ebpc/kernels/avx2.h"

#include <immintrin.h>

#include <cstring>

namespace ebpc {
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

StreamBits encode(const Parameters& p, WordSpan words, std::uint8_t* zero_stream,
                  std::uint8_t* plane_stream) {
  if (plane_bits(p) == 64) return portable_kernel.encode(p, words, zero_stream, plane_stream);
  const CleanUpperHalves clean;
  return avx2::encode(p, words, zero_stream, plane_stream);
}

StreamBits count(const Parameters& p, WordSpan words) {
  if (plane_bits(p) == 64) return portable_kernel.count(p, words);
  const CleanUpperHalves clean;
  return avx2::count(p, words);
}

std::size_t decode(const Parameters& p, std::span<const DecodeJob> jobs) {
  if (jobs.empty()) return 0;
  if (plane_bits(p) == 64) return portable_kernel.decode(p, jobs);
  const CleanUpperHalves clean;
  return avx2::decode(p, jobs);
}

std::uint64_t load64(const std::uint8_t* bytes) {
  std::uint64_t x;
  std::memcpy(&x, bytes, sizeof x);
  return x;
}

/// x^n modulo the CRC's polynomial, both reflected: bit 31 is the coefficient of x^0.
constexpr std::uint32_t power_of_x(int n) {
  constexpr std::uint32_t reflected_polynomial = 0x82F63B78;
  std::uint32_t power = 0x80000000;
  for (; n > 0; --n) power = power >> 1 ^ (power & 1 ? reflected_polynomial : 0);
  return power;
}

/// The CRC that `crc` becomes behind `byte_count` zero bytes. The instruction multiplies by x^32
/// and the reflected product by x, which leaves this power for the constant.
template <int byte_count>
std::uint64_t crc_behind_zeros(std::uint64_t crc) {
  constexpr std::uint32_t power = power_of_x(8 * byte_count - 33);
  const __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<long long>(crc)),
                                               _mm_cvtsi32_si128(static_cast<int>(power)), 0);
  return _mm_crc32_u64(0, static_cast<std::uint64_t>(_mm_cvtsi128_si64(product)));
}

/// The CRC instruction takes three cycles, but one can start each cycle: three parts side by side.
template <int part_bytes>
void crc32c_in_three_parts(std::uint64_t& crc, const std::uint8_t*& bytes, std::size_t& count) {
  for (; count >= 3 * part_bytes; bytes += 3 * part_bytes, count -= 3 * part_bytes) {
    std::uint64_t second = 0;
    std::uint64_t third = 0;
    for (int i = 0; i < part_bytes; i += 8) {
      crc = _mm_crc32_u64(crc, load64(bytes + i));
      second = _mm_crc32_u64(second, load64(bytes + part_bytes + i));
      third = _mm_crc32_u64(third, load64(bytes + 2 * part_bytes + i));
    }
    crc = crc_behind_zeros<part_bytes>(crc_behind_zeros<part_bytes>(crc) ^ second) ^ third;
  }
}

std::uint32_t crc32c(std::uint32_t start, const std::uint8_t* bytes, std::size_t count) {
  std::uint64_t crc = ~start;
  crc32c_in_three_parts<1360>(crc, bytes, count);  // 4080 bytes: nearly all of a segment
  crc32c_in_three_parts<128>(crc, bytes, count);
  for (; count >= 8; bytes += 8, count -= 8) crc = _mm_crc32_u64(crc, load64(bytes));
  auto last = static_cast<std::uint32_t>(crc);
  for (; count > 0; ++bytes, --count) last = _mm_crc32_u8(last, *bytes);
  return ~last;
}

}  // namespace

const Kernel avx2_kernel{"avx2", encode, count, decode, crc32c};

}  // namespace ebpc
