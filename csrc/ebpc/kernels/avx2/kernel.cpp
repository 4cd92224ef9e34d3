// The AVX2 kernel, put together, and its CRC.

#include "ebpc/kernels/avx2/kernel.h"

#include <cstring>

namespace ebpc {
namespace avx2 {
namespace {

std::uint64_t load64(const std::uint8_t* bytes) {
  std::uint64_t x;
  std::memcpy(&x, bytes, sizeof x);
  return x;
}

/// For each number of qwords, up to where a part of a checksum ends: x^(64 n - 33) modulo the CRC's
/// polynomial, both reflected, so that bit 31 is the coefficient of x^0.
constexpr std::size_t max_part_qwords = 256;
struct ShiftTable {
  std::uint32_t powers[max_part_qwords + 1];
};

constexpr ShiftTable shift_table = [] {
  constexpr std::uint32_t reflected_polynomial = 0x82F63B78;
  ShiftTable table{};
  std::uint32_t power = 0x80000000;
  std::size_t exponent = 0;
  for (std::size_t qwords = 1; qwords <= max_part_qwords; ++qwords) {
    for (; exponent < 64 * qwords - 33; ++exponent)
      power = power >> 1 ^ (power & 1 ? reflected_polynomial : 0);
    table.powers[qwords] = power;
  }
  return table;
}();

/// The CRC that `crc` becomes behind so many qwords of zeros. The instruction multiplies by x^32
/// and the reflected product by x, which leaves the table's power.
std::uint64_t crc_behind_zeros(std::uint64_t crc, std::size_t qwords) {
  const __m128i product =
      _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<long long>(crc)),
                           _mm_cvtsi32_si128(static_cast<int>(shift_table.powers[qwords])), 0);
  return _mm_crc32_u64(0, static_cast<std::uint64_t>(_mm_cvtsi128_si64(product)));
}

}  // namespace

std::uint32_t crc32c(std::uint32_t start, const std::uint8_t* bytes, std::size_t count) {
  std::uint64_t crc = ~start;
  // The CRC instruction takes three cycles, but one can start each cycle: three parts side by side.
  while (count >= 24) {
    const std::size_t qwords = count / 24 < max_part_qwords ? count / 24 : max_part_qwords;
    const std::size_t part_bytes = 8 * qwords;
    std::uint64_t second = 0;
    std::uint64_t third = 0;
    for (const std::uint8_t* const end = bytes + part_bytes; bytes != end; bytes += 8) {
      crc = _mm_crc32_u64(crc, load64(bytes));
      second = _mm_crc32_u64(second, load64(bytes + part_bytes));
      third = _mm_crc32_u64(third, load64(bytes + 2 * part_bytes));
    }
    crc = crc_behind_zeros(crc_behind_zeros(crc, qwords) ^ second, qwords) ^ third;
    bytes += 2 * part_bytes;
    count -= 3 * part_bytes;
  }
  for (; count >= 8; bytes += 8, count -= 8) crc = _mm_crc32_u64(crc, load64(bytes));
  auto last = static_cast<std::uint32_t>(crc);
  for (; count > 0; ++bytes, --count) last = _mm_crc32_u8(last, *bytes);
  return ~last;
}

}  // namespace avx2

const Kernel avx2_kernel{"avx2", avx2::encode, avx2::count, avx2::decode, avx2::crc32c};

}  // namespace ebpc
