// Non-zero words without the gaps and masks of where they were, and back, with AVX-512.

#pragma once

#include "ebpc/kernels/avx512/bits.h"

namespace ebpc::avx512 {
namespace {

template <class Word>
using WordLanes = Lanes<8 * sizeof(Word)>;

/// Appends the non-zero ones of a vector of words to `out`, each with `flip` XORed in. Stores a
/// whole vector. Returns a mask of them.
template <class Word>
inline std::uint64_t pack_vector(__m512i words, __m512i flip, Word*& out) {
  using L = WordLanes<Word>;
  const auto mask = L::is_nonzero(words);
  store_512(out, L::compress(mask, _mm512_xor_si512(words, flip)));
  const std::uint64_t nonzero = bits_of(mask);
  out += std::popcount(nonzero);
  return nonzero;
}

/// Packs `count` words (up to a tile) as pack_vector does. masks[i] gets the non-zero mask of words
/// 64 i to 64 i + 63; words after the last count as zero and are not read.
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

// ---- The reverse.

/// Puts packed words under the ones of a mask of 64 words, and the zero word elsewhere. Returns
/// where the packed ones go on; up to 64 bytes of them are read.
template <class Word>
const Word* unpack_mask(const Word* packed, std::uint64_t mask, Word zero, Word* words) {
  using L = WordLanes<Word>;
  constexpr int vector_words = 64 / sizeof(Word);
  const __m512i zeros = L::set(zero);
  for (int i = 0; i < 64; i += vector_words) {
    const auto part = static_cast<typename L::Mask>(mask >> i);
    store_512(words + i, L::expand(zeros, part, load_512(packed)));
    packed += std::popcount(part);
  }
  return packed;
}

}  // namespace
}  // namespace ebpc::avx512
