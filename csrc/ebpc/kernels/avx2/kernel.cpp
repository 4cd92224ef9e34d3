// The AVX2 kernel.
//
// All that is compiled for these instructions is in unnamed namespaces, and what it uses of other
// headers is data or gets inlined: an inline function that this file emits under a name that others
// know could replace theirs when the library is linked, and then fail on a CPU without these
// instructions.

#include "ebpc/kernels/kernel.h"

#include <immintrin.h>

#include <cstring>

#include "ebpc/kernels/avx2/plane_lanes.h"
#include "ebpc/kernels/avx2/planes_8x8.h"
#include "ebpc/kernels/generic/decode.h"
#include "ebpc/kernels/generic/encode.h"
#include "ebpc/kernels/generic/quantize.h"

namespace ebpc {
namespace avx2 {
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
  if (is_common_setting(p, words.bytes_per_word))
    return encode_segment<PlaneWriter8x8>(p, words, zero_stream, plane_stream);
  return encode_any_segment(p, words, zero_stream, plane_stream);
}

StreamBits count(const Parameters& p, WordSpan words) {
  if (plane_bits(p) == 64) return portable_kernel.count(p, words);
  const CleanUpperHalves clean;
  if (is_common_setting(p, words.bytes_per_word)) return count_segment<PlaneCounter8x8>(p, words);
  return count_any_segment(p, words);
}

std::uint64_t encode_bpc(const Parameters& p, WordSpan words, std::uint8_t* plane_stream) {
  if (plane_bits(p) == 64) return portable_kernel.encode_bpc(p, words, plane_stream);
  const CleanUpperHalves clean;
  return encode_any_bpc(p, words, plane_stream);
}

std::uint64_t count_bpc(const Parameters& p, WordSpan words) {
  if (plane_bits(p) == 64) return portable_kernel.count_bpc(p, words);
  const CleanUpperHalves clean;
  return count_any_bpc(p, words);
}

std::size_t decode(const Parameters& p, std::span<const DecodeJob> jobs) {
  if (jobs.empty()) return 0;
  if (plane_bits(p) == 64) return portable_kernel.decode(p, jobs);
  const CleanUpperHalves clean;
  const int bytes_per_word = jobs.front().words.bytes_per_word;
  if (p.block_size == 8 && p.base == Base::sent && p.word_bits == 8 * bytes_per_word) {
    if (bytes_per_word == 1) return decode_with<ZeroTurns, CodeLanes<std::uint8_t>>(p, jobs);
    if (bytes_per_word == 2) return decode_with<ZeroTurns, CodeLanes<std::uint16_t>>(p, jobs);
  }
  return decode_any(p, jobs);
}

// ---- The CRC.

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

/// The CRC that `crc` becomes after so many qwords of zeros. The instruction multiplies by x^32
/// and the reflected product by x, which leaves the table's power.
std::uint64_t crc_after_zeros(std::uint64_t crc, std::size_t qwords) {
  const __m128i product =
      _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<long long>(crc)),
                           _mm_cvtsi32_si128(static_cast<int>(shift_table.powers[qwords])), 0);
  return _mm_crc32_u64(0, static_cast<std::uint64_t>(_mm_cvtsi128_si64(product)));
}

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
    crc = crc_after_zeros(crc_after_zeros(crc, qwords) ^ second, qwords) ^ third;
    bytes += 2 * part_bytes;
    count -= 3 * part_bytes;
  }
  for (; count >= 8; bytes += 8, count -= 8) crc = _mm_crc32_u64(crc, load64(bytes));
  auto last = static_cast<std::uint32_t>(crc);
  for (; count > 0; ++bytes, --count) last = _mm_crc32_u8(last, *bytes);
  return ~last;
}

}  // namespace
}  // namespace avx2

const Kernel avx2_kernel{"avx2",          avx2::encode, avx2::count,  avx2::encode_bpc,
                         avx2::count_bpc, avx2::decode, avx2::crc32c, avx2::quantize};

}  // namespace ebpc
