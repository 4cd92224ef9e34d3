// Non-zero words back to their places among the zeros.

#pragma once

#include "ebpc/kernels/avx512/bits.h"

namespace ebpc::avx512 {
namespace {

/// Puts packed words in the places of a mask's ones, and the zero word elsewhere; `count` words in
/// all. Both the mask and the packed words are read in vectors.
template <class Word>
void unpack_words(const std::uint8_t* mask_bytes, const Word* packed, Word zero, Word* words,
                  std::size_t count) {
  using L = WordLanes<Word>;
  constexpr std::size_t vector_words = 64 / sizeof(Word);
  const __m512i zeros = L::set(zero);
  for (std::size_t first = 0; first < count; first += vector_words) {
    std::uint64_t mask = 0;
    std::memcpy(&mask, mask_bytes + first / 8, vector_words / 8);
    const __m512i vector = L::expand(zeros, static_cast<typename L::Mask>(mask), load_512(packed));
    packed += std::popcount(mask);
    const std::size_t bytes = (count - first) * sizeof(Word);
    if (bytes >= 64) [[likely]] {
      store_512(words + first, vector);
    } else {
      _mm512_mask_storeu_epi8(words + first, low_bits(static_cast<int>(bytes)), vector);
    }
  }
}

}  // namespace
}  // namespace ebpc::avx512
