// Vector operations on lanes of 8, 16, 32 or 64 bits under one name each.

#pragma once

#include "ebpc/kernels/avx512_bits.h"

namespace ebpc {
namespace {

template <int bits>
struct Lanes;

template <>
struct Lanes<8> {
  using Mask = __mmask64;
  static __m512i set(std::uint64_t x) { return _mm512_set1_epi8(static_cast<char>(x)); }
  static Mask is_zero(__m512i a) { return _mm512_testn_epi8_mask(a, a); }
  static Mask is_zero(Mask k, __m512i a) { return _mm512_mask_testn_epi8_mask(k, a, a); }
  static Mask is_nonzero(__m512i a) { return _mm512_test_epi8_mask(a, a); }
  static Mask is_nonzero(Mask k, __m512i a) { return _mm512_mask_test_epi8_mask(k, a, a); }
  static Mask differ(Mask k, __m512i a, __m512i b) { return _mm512_mask_cmpneq_epi8_mask(k, a, b); }
  static Mask sign(__m512i a) { return _mm512_movepi8_mask(a); }
  static Mask equal(__m512i a, __m512i b) { return _mm512_cmpeq_epi8_mask(a, b); }
  static Mask equal(Mask k, __m512i a, __m512i b) { return _mm512_mask_cmpeq_epi8_mask(k, a, b); }
  static __m512i add(__m512i a, __m512i b) { return _mm512_add_epi8(a, b); }
  static __m512i sub(__m512i a, __m512i b) { return _mm512_sub_epi8(a, b); }
  static __m512i sub(Mask k, __m512i a, __m512i b) { return _mm512_maskz_sub_epi8(k, a, b); }
  static __m512i blend(Mask k, __m512i a, __m512i b) { return _mm512_mask_blend_epi8(k, a, b); }
  static __m512i keep(Mask k, __m512i a) { return _mm512_maskz_mov_epi8(k, a); }
  static __m512i popcount(__m512i a) { return _mm512_popcnt_epi8(a); }
  /// Lane i gets lane i - 1, the first one the last of `before`; lanes outside of k are zero. Here
  /// and in Lanes<16> the first lane must be outside.
  static __m512i shift_up(Mask k, __m512i a, __m512i /*before*/) {
    return _mm512_maskz_permutexvar_epi8(k, load_vector(byte_before.data()), a);
  }
  static __m512i widen(const std::uint8_t* bytes) { return load_vector(bytes); }

 private:
  static constexpr auto byte_before = [] {
    std::array<std::uint8_t, 64> before{};
    for (std::size_t i = 1; i < 64; ++i) before[i] = static_cast<std::uint8_t>(i - 1);
    return before;
  }();
};

template <>
struct Lanes<16> {
  using Mask = __mmask32;
  static __m512i set(std::uint64_t x) { return _mm512_set1_epi16(static_cast<short>(x)); }
  static Mask is_zero(__m512i a) { return _mm512_testn_epi16_mask(a, a); }
  static Mask is_zero(Mask k, __m512i a) { return _mm512_mask_testn_epi16_mask(k, a, a); }
  static Mask is_nonzero(__m512i a) { return _mm512_test_epi16_mask(a, a); }
  static Mask is_nonzero(Mask k, __m512i a) { return _mm512_mask_test_epi16_mask(k, a, a); }
  static Mask differ(Mask k, __m512i a, __m512i b) {
    return _mm512_mask_cmpneq_epi16_mask(k, a, b);
  }
  static Mask sign(__m512i a) { return _mm512_movepi16_mask(a); }
  static Mask equal(__m512i a, __m512i b) { return _mm512_cmpeq_epi16_mask(a, b); }
  static Mask equal(Mask k, __m512i a, __m512i b) { return _mm512_mask_cmpeq_epi16_mask(k, a, b); }
  static __m512i add(__m512i a, __m512i b) { return _mm512_add_epi16(a, b); }
  static __m512i sub(__m512i a, __m512i b) { return _mm512_sub_epi16(a, b); }
  static __m512i sub(Mask k, __m512i a, __m512i b) { return _mm512_maskz_sub_epi16(k, a, b); }
  static __m512i blend(Mask k, __m512i a, __m512i b) { return _mm512_mask_blend_epi16(k, a, b); }
  static __m512i keep(Mask k, __m512i a) { return _mm512_maskz_mov_epi16(k, a); }
  static __m512i popcount(__m512i a) { return _mm512_popcnt_epi16(a); }
  static __m512i shift_left(Mask k, __m512i a, __m512i bits) {
    return _mm512_mask_sllv_epi16(a, k, a, bits);
  }
  static __m512i shift_up(Mask k, __m512i a, __m512i /*before*/) {
    return _mm512_maskz_permutexvar_epi16(k, load_vector(pair_before.data()), a);
  }
  static __m512i widen(const std::uint8_t* bytes) {
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes)));
  }

 private:
  static constexpr auto pair_before = [] {
    std::array<std::uint16_t, 32> before{};
    for (std::size_t i = 1; i < 32; ++i) before[i] = static_cast<std::uint16_t>(i - 1);
    return before;
  }();
};

template <>
struct Lanes<32> {
  using Mask = __mmask16;
  static __m512i set(std::uint64_t x) { return _mm512_set1_epi32(static_cast<int>(x)); }
  static Mask is_zero(__m512i a) { return _mm512_testn_epi32_mask(a, a); }
  static Mask is_zero(Mask k, __m512i a) { return _mm512_mask_testn_epi32_mask(k, a, a); }
  static Mask is_nonzero(__m512i a) { return _mm512_test_epi32_mask(a, a); }
  static Mask is_nonzero(Mask k, __m512i a) { return _mm512_mask_test_epi32_mask(k, a, a); }
  static Mask differ(Mask k, __m512i a, __m512i b) {
    return _mm512_mask_cmpneq_epi32_mask(k, a, b);
  }
  static Mask sign(__m512i a) { return _mm512_movepi32_mask(a); }
  static Mask equal(__m512i a, __m512i b) { return _mm512_cmpeq_epi32_mask(a, b); }
  static Mask equal(Mask k, __m512i a, __m512i b) { return _mm512_mask_cmpeq_epi32_mask(k, a, b); }
  static __m512i add(__m512i a, __m512i b) { return _mm512_add_epi32(a, b); }
  static __m512i sub(__m512i a, __m512i b) { return _mm512_sub_epi32(a, b); }
  static __m512i sub(Mask k, __m512i a, __m512i b) { return _mm512_maskz_sub_epi32(k, a, b); }
  static __m512i blend(Mask k, __m512i a, __m512i b) { return _mm512_mask_blend_epi32(k, a, b); }
  static __m512i keep(Mask k, __m512i a) { return _mm512_maskz_mov_epi32(k, a); }
  static __m512i popcount(__m512i a) { return _mm512_popcnt_epi32(a); }
  static __m512i shift_left(Mask k, __m512i a, __m512i bits) {
    return _mm512_mask_sllv_epi32(a, k, a, bits);
  }
  static __m512i shift_up(Mask k, __m512i a, __m512i before) {
    return _mm512_maskz_alignr_epi32(k, a, before, 15);
  }
  static __m512i widen(const std::uint8_t* bytes) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
  }
};

template <>
struct Lanes<64> {
  using Mask = __mmask8;
  static __m512i set(std::uint64_t x) { return _mm512_set1_epi64(static_cast<long long>(x)); }
  static Mask is_zero(__m512i a) { return _mm512_testn_epi64_mask(a, a); }
  static Mask is_zero(Mask k, __m512i a) { return _mm512_mask_testn_epi64_mask(k, a, a); }
  static Mask is_nonzero(__m512i a) { return _mm512_test_epi64_mask(a, a); }
  static Mask is_nonzero(Mask k, __m512i a) { return _mm512_mask_test_epi64_mask(k, a, a); }
  static Mask differ(Mask k, __m512i a, __m512i b) {
    return _mm512_mask_cmpneq_epi64_mask(k, a, b);
  }
  static Mask equal(__m512i a, __m512i b) { return _mm512_cmpeq_epi64_mask(a, b); }
  static Mask equal(Mask k, __m512i a, __m512i b) { return _mm512_mask_cmpeq_epi64_mask(k, a, b); }
  static __m512i add(__m512i a, __m512i b) { return _mm512_add_epi64(a, b); }
  static __m512i sub(__m512i a, __m512i b) { return _mm512_sub_epi64(a, b); }
  static __m512i blend(Mask k, __m512i a, __m512i b) { return _mm512_mask_blend_epi64(k, a, b); }
  static __m512i keep(Mask k, __m512i a) { return _mm512_maskz_mov_epi64(k, a); }
  static __m512i popcount(__m512i a) { return _mm512_popcnt_epi64(a); }
  static __m512i shift_left(Mask k, __m512i a, __m512i bits) {
    return _mm512_mask_sllv_epi64(a, k, a, bits);
  }
  static __m512i shift_up(Mask k, __m512i a, __m512i before) {
    return _mm512_maskz_alignr_epi64(k, a, before, 7);
  }
  static __m512i widen(const std::uint8_t* bytes) {
    return _mm512_cvtepu8_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)));
  }
};

}  // namespace
}  // namespace ebpc
