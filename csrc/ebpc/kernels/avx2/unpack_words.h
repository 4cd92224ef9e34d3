// Words back to where the ones of a mask are, with AVX2: the reverse of pack_words.h.

#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "ebpc/bit_stream.h"
#include "ebpc/kernels/generic/vectors.h"

namespace ebpc::EBPC_KERNEL {
namespace {

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

/// Puts packed words in the places of a mask's ones, and the zero word elsewhere; `count` words in
/// all. The mask is read in whole qwords.
template <class Word>
void unpack_words(const std::uint8_t* mask_bytes, const Word* packed, Word zero, Word* words,
                  std::size_t count) {
  for (; count >= 64; count -= 64, mask_bytes += 8, words += 64)
    packed = unpack_mask(packed, load_little_endian(mask_bytes), zero, words);
  if (count == 0) return;
  Word last_words[64];
  unpack_mask(packed, load_little_endian(mask_bytes), zero, last_words);
  std::memcpy(words, last_words, count * sizeof(Word));
}

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
