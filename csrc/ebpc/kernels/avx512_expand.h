// Non-zero words back to their places among the zeros.

#pragma once

#include "ebpc/kernels/avx512_bits.h"

namespace ebpc {
namespace {

/// Spreads non-zero words over `count` words under a mask of them; where the mask has none, zero is
/// written. Both the mask and the non-zero words are read in vectors.
template <class Word>
void expand_words(const std::uint8_t* mask_bytes, const Word* nonzero, Word* words,
                  std::size_t count) {
  constexpr std::size_t vector_words = 64 / sizeof(Word);
  for (std::size_t first = 0; first < count; first += vector_words) {
    std::uint64_t mask = 0;
    std::memcpy(&mask, mask_bytes + first / 8, vector_words / 8);
    const __m512i packed = load_vector(nonzero);
    __m512i vector;
    if constexpr (sizeof(Word) == 1) {
      vector = _mm512_maskz_expand_epi8(mask, packed);
    } else if constexpr (sizeof(Word) == 2) {
      vector = _mm512_maskz_expand_epi16(static_cast<__mmask32>(mask), packed);
    } else {
      vector = _mm512_maskz_expand_epi32(static_cast<__mmask16>(mask), packed);
    }
    nonzero += std::popcount(mask);
    const std::size_t bytes = (count - first) * sizeof(Word);
    if (bytes >= 64) [[likely]] {
      store_vector(words + first, vector);
    } else {
      _mm512_mask_storeu_epi8(words + first, low_bits(static_cast<int>(bytes)), vector);
    }
  }
}

}  // namespace
}  // namespace ebpc
