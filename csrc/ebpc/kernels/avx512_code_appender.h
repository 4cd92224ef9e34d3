// Eight codes at once appended to a stream.

#pragma once

#include <array>

#include "ebpc/kernels/avx512_bits.h"

namespace ebpc {
namespace {

/// Appends codes where a stream stands. Bytes behind the last code may be overwritten.
class CodeAppender {
 public:
  CodeAppender(std::uint8_t* out, std::uint64_t bits)
      : out_(out), position_(_mm512_set1_epi64(static_cast<long long>(bits))) {}

  /// Appends the code of each lane in turn: the first `bits` (at most 120) of high and low.
  /// `before` ends with the last 7 bits of the stream in front of each code, or as many as there
  /// are. Returns where each code begins.
  [[gnu::always_inline]] __m512i append(__m512i before, __m512i high, __m512i low, __m512i bits) {
    // Each code's place: the sum of the lengths before it.
    const __m512i bits_before = _mm512_sad_epu8(
        _mm512_maskz_permutexvar_epi8(lower_lanes_mask, load_vector(lower_lanes.data()), bits),
        _mm512_setzero_si512());
    const __m512i positions = _mm512_add_epi64(position_, bits_before);
    position_ = _mm512_permutexvar_epi64(_mm512_set1_epi64(7), _mm512_add_epi64(positions, bits));
    // 16 bytes from the byte on in which a code begins; the next code overwrites what is too much.
    const __m512i bit = _mm512_and_si512(positions, _mm512_set1_epi64(7));
    const __m512i first = swap_bytes(_mm512_shrdv_epi64(high, before, bit));
    const __m512i second = swap_bytes(_mm512_shrdv_epi64(low, high, bit));
    alignas(64) std::array<std::uint64_t, 8> bytes;
    store_vector(bytes.data(), _mm512_srli_epi64(positions, 3));
    const __m512i even = _mm512_unpacklo_epi64(first, second);
    const __m512i odd = _mm512_unpackhi_epi64(first, second);
    store_16(bytes[0], _mm512_castsi512_si128(even));
    store_16(bytes[1], _mm512_castsi512_si128(odd));
    store_16(bytes[2], _mm512_extracti64x2_epi64(even, 1));
    store_16(bytes[3], _mm512_extracti64x2_epi64(odd, 1));
    store_16(bytes[4], _mm512_extracti64x2_epi64(even, 2));
    store_16(bytes[5], _mm512_extracti64x2_epi64(odd, 2));
    store_16(bytes[6], _mm512_extracti64x2_epi64(even, 3));
    store_16(bytes[7], _mm512_extracti64x2_epi64(odd, 3));
    return positions;
  }

  std::uint64_t bits() const {
    return static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm512_castsi512_si128(position_)));
  }

 private:
  /// Byte i of lane k takes the lowest byte of lane i if i < k.
  static constexpr auto lower_lanes = [] {
    std::array<std::uint8_t, 64> indices{};
    for (std::size_t i = 0; i < 64; ++i) indices[i] = static_cast<std::uint8_t>(i % 8 * 8);
    return indices;
  }();
  static constexpr std::uint64_t lower_lanes_mask = 0x7F3F1F0F07030100;

  static __m512i swap_bytes(__m512i x) {
    return _mm512_shuffle_epi8(
        x, _mm512_broadcast_i32x4(_mm_set_epi64x(0x08090A0B0C0D0E0F, 0x0001020304050607)));
  }

  void store_16(std::uint64_t byte, __m128i x) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out_ + byte), x);
  }

  std::uint8_t* out_;
  __m512i position_;  // in every lane
};

}  // namespace
}  // namespace ebpc
