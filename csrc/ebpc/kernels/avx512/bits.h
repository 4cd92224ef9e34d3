// What the files of the AVX-512 kernel share: vectors and masks, tiles of words, and their non-zero
// words packed.

#pragma once

// g++ 12 takes the undefined operands inside of intrinsics for mistakes (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "ebpc/kernels/generic/vectors.h"

namespace ebpc::avx512 {
namespace {

/// Words that are worked on at once, so that everything about them stays in the L1 cache.
constexpr std::size_t tile_words = 1024;

/// Reverses the bytes of each 64-bit lane.
inline __m512i swap_bytes(__m512i x) {
  return _mm512_shuffle_epi8(
      x, _mm512_broadcast_i32x4(_mm_set_epi64x(0x08090A0B0C0D0E0F, 0x0001020304050607)));
}

/// The bits of each byte in the other order: a stream's first bit is a mask's lowest.
inline __m512i turn_bytes_around(__m512i x) {
  return _mm512_gf2p8affine_epi64_epi8(
      x, _mm512_set1_epi64(static_cast<long long>(0x8040201008040201)), 0);
}

inline __m512i load_512(const void* from) { return _mm512_loadu_si512(from); }
inline void store_512(void* to, __m512i x) { _mm512_storeu_si512(to, x); }

/// Copies bytes and puts 64 zeros behind them.
inline void copy_with_zeros_behind(std::uint8_t* to, const std::uint8_t* from, std::size_t count) {
  std::size_t done = 0;
  for (; done + 64 <= count; done += 64) store_512(to + done, load_512(from + done));
  const std::uint64_t rest = low_bits(static_cast<int>(count - done));
  store_512(to + done, _mm512_maskz_loadu_epi8(rest, from + done));
  store_512(to + count, _mm512_setzero_si512());
}

/// The same, but opaque: compilers make a vector of small constants anew from a general register
/// wherever it is used, which takes as long as a shuffle.
inline __m512i kept(__m512i x) {
  asm("" : "+v"(x));
  return x;
}

/// The bits of a mask as a number, taken out by an instruction that compilers don't see through:
/// g++ (12, and later ones) may spill a mask as it is, as 1, 2 or 4 bytes, and load it as 4 or 8,
/// of which the rest was never written.
inline std::uint64_t bits_of(__mmask8 mask) {
  std::uint64_t bits;
  asm("kmovb %1, %k0" : "=r"(bits) : "k"(mask));
  return bits;
}
inline std::uint64_t bits_of(__mmask16 mask) {
  std::uint64_t bits;
  asm("kmovw %1, %k0" : "=r"(bits) : "k"(mask));
  return bits;
}
inline std::uint64_t bits_of(__mmask32 mask) {
  std::uint64_t bits;
  asm("kmovd %1, %k0" : "=r"(bits) : "k"(mask));
  return bits;
}
inline std::uint64_t bits_of(__mmask64 mask) { return mask; }

/// std::array of vectors, which g++ warns of: a template argument loses the type's alignment.
template <int count>
struct VectorArray {
  __m512i vectors[count];
  __m512i& operator[](int i) { return vectors[i]; }
  const __m512i& operator[](int i) const { return vectors[i]; }
};

/// Appends the non-zero ones of a vector of words to `out`, each with `flip` XORed in. Stores a
/// whole vector. Returns a mask of them.
template <class Word>
inline std::uint64_t pack_vector(__m512i words, __m512i flip, Word*& out) {
  const __m512i flipped = _mm512_xor_si512(words, flip);
  std::uint64_t nonzero;
  if constexpr (sizeof(Word) == 1) {
    nonzero = _mm512_test_epi8_mask(words, words);
    store_512(out, _mm512_maskz_compress_epi8(nonzero, flipped));
  } else if constexpr (sizeof(Word) == 2) {
    const __mmask32 mask = _mm512_test_epi16_mask(words, words);
    nonzero = bits_of(mask);
    store_512(out, _mm512_maskz_compress_epi16(mask, flipped));
  } else {
    const __mmask16 mask = _mm512_test_epi32_mask(words, words);
    nonzero = bits_of(mask);
    store_512(out, _mm512_maskz_compress_epi32(mask, flipped));
  }
  out += std::popcount(nonzero);
  return nonzero;
}

/// Packs `count` words (up to a tile) as pack_vector does. masks[i] gets the non-zero mask of words
/// 64 i to 64 i + 63; words behind the last count as zero and are not read.
constexpr std::size_t prefetch_bytes = 4096;

template <class Word>
inline Word* pack_tile(const Word* words, std::size_t count, __m512i flip, std::uint64_t* masks,
                       Word* out) {
  constexpr std::size_t vector_words = 64 / sizeof(Word);
  std::size_t first = 0;
  for (; first + 64 <= count; first += 64) {
    std::uint64_t mask = 0;
    for (std::size_t i = 0; i < sizeof(Word); ++i) {
      const Word* from = words + first + i * vector_words;
      _mm_prefetch(reinterpret_cast<const char*>(from) + prefetch_bytes, _MM_HINT_T0);
      const __m512i vector = load_512(from);
      mask |= pack_vector(vector, flip, out) << (i * vector_words % 64);
    }
    *masks++ = mask;
  }
  if (first == count) return out;
  std::uint64_t mask = 0;
  for (std::size_t i = 0; first < count; ++i, first += vector_words) {
    const std::size_t bytes = (count - first) * sizeof(Word);
    const __m512i vector = _mm512_maskz_loadu_epi8(
        bytes >= 64 ? ~__mmask64{0} : low_bits(static_cast<int>(bytes)), words + first);
    mask |= pack_vector(vector, flip, out) << (i * vector_words % 64);
  }
  *masks = mask;
  return out;
}

// ---- Vector operations on lanes of 8, 16, 32 or 64 bits under one name each.

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
    return _mm512_maskz_permutexvar_epi8(k, load_512(byte_before.data()), a);
  }
  static __m512i widen(const std::uint8_t* bytes) { return load_512(bytes); }

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
    return _mm512_maskz_permutexvar_epi16(k, load_512(pair_before.data()), a);
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
}  // namespace ebpc::avx512
