// Non-zero words without the gaps and masks of where they were, and back, with AVX2.

#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "ebpc/kernels/generic/vectors.h"

namespace ebpc::EBPC_KERNEL {
namespace {

/// order[mask]: the places of the ones of `mask` in its lowest bytes.
struct PackOrders {
  std::uint64_t order[256];
};

constexpr PackOrders pack_table = [] {
  PackOrders table{};
  for (unsigned mask = 0; mask < 256; ++mask) {
    int packed = 0;
    for (std::uint64_t i = 0; i < 8; ++i) {
      if (mask >> i & 1) table.order[mask] |= i << (8 * packed++);
    }
  }
  return table;
}();

inline __m256i load_256(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

/// Bit i is set where word i of 64 is not the zero word.
inline std::uint64_t nonzero_mask(const std::uint8_t* words, std::uint8_t zero) {
  const __m256i zeros = _mm256_set1_epi8(static_cast<char>(zero));
  const auto zeros_of = [&](int half) {
    const __m256i equal = _mm256_cmpeq_epi8(load_256(words + half), zeros);
    return static_cast<std::uint32_t>(_mm256_movemask_epi8(equal));
  };
  return ~(static_cast<std::uint64_t>(zeros_of(32)) << 32 | zeros_of(0));
}

inline std::uint64_t nonzero_mask(const std::uint16_t* words, std::uint16_t zero) {
  const __m256i zeros = _mm256_set1_epi16(static_cast<short>(zero));
  const auto zeros_of = [&](int half) {
    const __m256i bytes =
        _mm256_packs_epi16(_mm256_cmpeq_epi16(load_256(words + half), zeros),
                           _mm256_cmpeq_epi16(load_256(words + half + 16), zeros));
    return static_cast<std::uint32_t>(
        _mm256_movemask_epi8(_mm256_permute4x64_epi64(bytes, 0b11'01'10'00)));
  };
  return ~(static_cast<std::uint64_t>(zeros_of(32)) << 32 | zeros_of(0));
}

inline std::uint64_t nonzero_mask(const std::uint32_t* words, std::uint32_t zero) {
  const __m256i zeros = _mm256_set1_epi32(static_cast<int>(zero));
  std::uint64_t mask = 0;
  for (int i = 0; i < 64; i += 8) {
    const __m256i equal = _mm256_cmpeq_epi32(load_256(words + i), zeros);
    mask |= static_cast<std::uint64_t>(_mm256_movemask_ps(_mm256_castsi256_ps(equal))) << i;
  }
  return ~mask;
}

/// Stores the words under the ones of `mask`, of eight, side by side; whole vectors are written.
inline void pack_eight(const std::uint8_t* words, std::uint8_t mask, std::uint8_t* packed) {
  const __m128i eight = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(words));
  const __m128i order = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(&pack_table.order[mask]));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(packed), _mm_shuffle_epi8(eight, order));
}

inline void pack_eight(const std::uint16_t* words, std::uint8_t mask, std::uint16_t* packed) {
  const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(words));
  const __m128i order = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(&pack_table.order[mask]));
  // Byte 2 i and byte 2 i + 1.
  const __m128i twice = _mm_unpacklo_epi8(order, order);
  const __m128i bytes = _mm_add_epi8(_mm_add_epi8(twice, twice), _mm_set1_epi16(0x0100));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(packed), _mm_shuffle_epi8(eight, bytes));
}

inline void pack_eight(const std::uint32_t* words, std::uint8_t mask, std::uint32_t* packed) {
  const __m128i order = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(&pack_table.order[mask]));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(packed),
                      _mm256_permutevar8x32_epi32(load_256(words), _mm256_cvtepu8_epi32(order)));
}

/// Begins to load what is read a page later, which may be nobody's memory. Processors do not load
/// ahead beyond the page that is read, and the next one would come too late.
inline void prefetch_next_page(const void* from) {
  const auto address = reinterpret_cast<std::uintptr_t>(from) + 4096;
  _mm_prefetch(reinterpret_cast<const char*>(address), _MM_HINT_T0);
}

/// Packs `mask_count` times 64 words; returns the end of the packed ones. Writes up to 8 words
/// after it.
template <class Word>
Word* pack_masks(const Word* words, std::size_t mask_count, Word zero, std::uint64_t* masks,
                 Word* packed) {
  for (std::size_t i = 0; i < mask_count; ++i, words += 64) {
    for (std::size_t k = 0; k < 64; k += 64 / sizeof(Word)) prefetch_next_page(words + k);
    const std::uint64_t mask = nonzero_mask(words, zero);
    masks[i] = mask;
    for (int k = 0; k < 64; k += 8) {
      const auto part = static_cast<std::uint8_t>(mask >> k);
      pack_eight(words + k, part, packed);
      packed += _mm_popcnt_u64(part);
    }
  }
  return packed;
}

// ---- The reverse.

/// order[mask]: for each bit of `mask` the number of ones below it; with the most significant bit
/// set, for which a shuffle gives 0, where the mask has none.
struct UnpackOrders {
  std::uint64_t order[256];
};

constexpr UnpackOrders unpack_orders = [] {
  UnpackOrders table{};
  for (unsigned mask = 0; mask < 256; ++mask) {
    std::uint64_t packed = 0;
    for (unsigned i = 0; i < 8; ++i) {
      table.order[mask] |= ((mask >> i & 1) != 0 ? packed++ : 0x80) << (8 * i);
    }
  }
  return table;
}();

[[gnu::always_inline]] inline __m128i load_qword(const void* from) {
  return _mm_loadl_epi64(static_cast<const __m128i*>(from));
}

// unpack_some puts packed words under the ones of the lowest bits of a mask, and the zero word
// elsewhere, for some words at once. It returns where the packed ones go on; more are read.

[[gnu::always_inline]] inline const std::uint8_t* unpack_some(const std::uint8_t* packed,
                                                              unsigned mask, std::uint8_t zero,
                                                              std::uint8_t* words) {
  const auto first = static_cast<unsigned>(_mm_popcnt_u32(mask & 0xFF));
  const auto both = static_cast<unsigned>(_mm_popcnt_u32(mask & 0xFFFF));
  const auto* orders = unpack_orders.order;
  const __m128i zeros = _mm_set1_epi8(static_cast<char>(zero));
  const __m128i order = _mm_unpacklo_epi64(load_qword(orders + (mask & 0xFF)),
                                           load_qword(orders + (mask >> 8 & 0xFF)));
  // The second eight begin in the upper half.
  const __m128i x = _mm_unpacklo_epi64(load_qword(packed), load_qword(packed + first));
  const __m128i eights = _mm_set_epi64x(0x0808080808080808, 0);
  const __m128i placed = _mm_shuffle_epi8(_mm_xor_si128(x, zeros), _mm_add_epi8(order, eights));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(words), _mm_xor_si128(placed, zeros));
  return packed + both;
}

[[gnu::always_inline]] inline const std::uint16_t* unpack_some(const std::uint16_t* packed,
                                                               unsigned mask, std::uint16_t zero,
                                                               std::uint16_t* words) {
  const __m128i zeros = _mm_set1_epi16(static_cast<short>(zero));
  const __m128i order = load_qword(&unpack_orders.order[mask & 0xFF]);
  // Byte 2 i and byte 2 i + 1, or 0xFF.
  const __m128i twice = _mm_unpacklo_epi8(order, order);
  const __m128i bytes = _mm_adds_epu8(_mm_adds_epu8(twice, twice), _mm_set1_epi16(0x0100));
  const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(packed));
  const __m128i placed = _mm_shuffle_epi8(_mm_xor_si128(x, zeros), bytes);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(words), _mm_xor_si128(placed, zeros));
  return packed + _mm_popcnt_u32(mask & 0xFF);
}

[[gnu::always_inline]] inline const std::uint32_t* unpack_some(const std::uint32_t* packed,
                                                               unsigned mask, std::uint32_t zero,
                                                               std::uint32_t* words) {
  // As signed numbers, those without a word are negative.
  const __m256i order = _mm256_cvtepi8_epi32(load_qword(&unpack_orders.order[mask & 0xFF]));
  const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(packed));
  const __m256i placed =
      _mm256_blendv_epi8(_mm256_permutevar8x32_epi32(x, order),
                         _mm256_set1_epi32(static_cast<int>(zero)), _mm256_srai_epi32(order, 31));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), placed);
  return packed + _mm_popcnt_u32(mask & 0xFF);
}

/// The same for a mask of 64 words.
template <class Word>
const Word* unpack_mask(const Word* packed, std::uint64_t mask, Word zero, Word* words) {
  constexpr int at_once = sizeof(Word) == 1 ? 16 : 8;
  for (int i = 0; i < 64; i += at_once, mask >>= at_once) {
    packed = unpack_some(packed, static_cast<unsigned>(mask), zero, words + i);
  }
  return packed;
}

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
