// 64 words and a mask: which of them are kept, those packed side by side, and back in their places.
//
// Compiled once for every instruction set that includes it: kernels/generic/vectors.h says how.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__AVX512VBMI2__)
#include "ebpc/kernels/avx512/pack_words.h"
#elif defined(__AVX2__)
#include "ebpc/kernels/avx2/pack_words.h"
#else
#include "ebpc/kernels/generic/pack_words.h"
#endif
#include "ebpc/kernels/generic/vectors.h"

namespace ebpc::EBPC_KERNEL {
namespace {

constexpr std::size_t mask_words = 64;

// nonzero_mask has a bit for each word, which is set where it is not `zero`; differing_mask, where
// it is not equal to another one.
//
// pack_under puts the words under the ones of a mask side by side at `packed`, and returns their
// end. Up to a vector after it is written.
//
// unpack_mask puts them back, and `zero` elsewhere, and returns where the packed ones go on. Up to
// a vector after that is read.

#if defined(__AVX512VBMI2__)

template <class Word>
constexpr std::size_t vector_words = 64 / sizeof(Word);

/// The bits of a mask that stand for the words of a vector, from word `first` on.
template <class Word>
typename WordLanes<Word>::Mask mask_of_vector(std::uint64_t mask, std::size_t first) {
  return static_cast<typename WordLanes<Word>::Mask>(mask >> first);
}

template <class Word>
std::uint64_t nonzero_mask(const Word* words, Word zero) {
  using L = WordLanes<Word>;
  std::uint64_t mask = 0;
  for (std::size_t i = 0; i < mask_words; i += vector_words<Word>) {
    mask |= bits_of(L::differ(load_512(words + i), L::set(zero))) << i;
  }
  return mask;
}

template <class Word>
std::uint64_t differing_mask(const Word* words, const Word* others) {
  std::uint64_t mask = 0;
  for (std::size_t i = 0; i < mask_words; i += vector_words<Word>) {
    mask |= bits_of(WordLanes<Word>::differ(load_512(words + i), load_512(others + i))) << i;
  }
  return mask;
}

template <class Word>
Word* pack_under(const Word* words, std::uint64_t mask, Word* packed) {
  for (std::size_t i = 0; i < mask_words; i += vector_words<Word>) {
    const auto some = mask_of_vector<Word>(mask, i);
    store_512(packed, WordLanes<Word>::compress(some, load_512(words + i)));
    packed += count_ones(some);
  }
  return packed;
}

#else

template <class Word>
Word* pack_under(const Word* words, std::uint64_t mask, Word* packed) {
#ifdef __AVX2__
  for (int k = 0; k < 64; k += 8) {
    const auto part = static_cast<std::uint8_t>(mask >> k);
    pack_eight(words + k, part, packed);
    packed += count_ones(part);
  }
#else
  for (int k = 0; k < 64; ++k) {
    *packed = words[k];
    packed += mask >> k & 1;
  }
#endif
  return packed;
}

#ifndef __AVX2__
template <class Word>
std::uint64_t nonzero_mask(const Word* words, Word zero) {
  return nonzero_mask_of(words, zero);
}
#endif

template <class Word>
std::uint64_t differing_mask(const Word* words, const Word* others) {
  Word changes[mask_words];
  for (std::size_t i = 0; i < mask_words; ++i) changes[i] = static_cast<Word>(words[i] ^ others[i]);
  return nonzero_mask(static_cast<const Word*>(changes), Word{0});
}

#endif

constexpr std::size_t masks_for(std::size_t words) { return (words + mask_words - 1) / mask_words; }

/// Calls visit(words, mask number) for each 64 of them; the last ones are followed by zeros.
template <class Word, class Visit>
void for_each_mask(const Word* words, std::size_t count, Visit&& visit) {
  std::size_t i = 0;
  for (; mask_words * (i + 1) <= count; ++i) visit(words + mask_words * i, i);
  if (const std::size_t left = count % mask_words; left > 0) {
    Word last[mask_words] = {};
    std::memcpy(last, words + mask_words * i, left * sizeof(Word));
    visit(static_cast<const Word*>(last), i);
  }
}

inline std::size_t count_ones_of(const std::uint64_t* masks, std::size_t mask_count) {
  std::size_t ones = 0;
  for (std::size_t i = 0; i < mask_count; ++i) {
    ones += static_cast<std::size_t>(count_ones(masks[i]));
  }
  return ones;
}

/// Of a segment's last mask, the bits that stand for words.
inline std::uint64_t last_mask(std::size_t words) {
  return EBPC_KERNEL::low_bits(static_cast<int>(words - mask_words * (masks_for(words) - 1)));
}

/// Masks of the words that are not `zero`; returns how many those are.
template <class Word>
std::size_t mask_zeros(const Word* words, std::size_t count, Word zero, std::uint64_t* masks) {
  for_each_mask(words, count,
                [&](const Word* from, std::size_t i) { masks[i] = nonzero_mask(from, zero); });
  masks[masks_for(count) - 1] &= last_mask(count);
  return count_ones_of(masks, masks_for(count));
}

/// Masks of the words that are not equal to the one before; the first one never is.
template <class Word>
std::size_t mask_repeats(const Word* words, std::size_t count, std::uint64_t* masks) {
  Word some[mask_words] = {};
  const auto words_before = [&](std::size_t i) {
    const std::size_t first = mask_words * i;
    if (i > 0 && first + mask_words <= count) return words + first - 1;
    const std::size_t left = min(count - first, mask_words);
    if (i == 0) some[0] = static_cast<Word>(~words[0]);
    std::memcpy(some + (i == 0), words + first - (i > 0), (left - (i == 0)) * sizeof(Word));
    return static_cast<const Word*>(some);
  };
  for_each_mask(words, count, [&](const Word* from, std::size_t i) {
    masks[i] = differing_mask(from, words_before(i));
  });
  masks[masks_for(count) - 1] &= last_mask(count);
  return count_ones_of(masks, masks_for(count));
}

/// Packs the words under masks; returns how many there are.
template <class Word>
std::size_t pack_words(const Word* words, std::size_t count, const std::uint64_t* masks,
                       Word* packed) {
  Word* end = packed;
  for_each_mask(words, count,
                [&](const Word* from, std::size_t i) { end = pack_under(from, masks[i], end); });
  return static_cast<std::size_t>(end - packed);
}

/// Puts packed words back, and `zero` where none was.
template <class Word>
void place_words(const Word* packed, const std::uint64_t* masks, std::size_t count, Word zero,
                 Word* words) {
  std::size_t i = 0;
  for (; mask_words * (i + 1) <= count; ++i) {
    packed = unpack_mask(packed, masks[i], zero, words + mask_words * i);
  }
  if (const std::size_t left = count % mask_words; left > 0) {
    Word last[mask_words];
    unpack_mask(packed, masks[i], zero, last);
    std::memcpy(words + mask_words * i, last, left * sizeof(Word));
  }
}

#ifdef __AVX2__
/// order[mask]: for each bit of `mask`, how many ones there are up to it.
struct RepeatOrders {
  std::uint64_t order[256];
};
constexpr RepeatOrders repeat_orders = [] {
  RepeatOrders table{};
  for (unsigned mask = 0; mask < 256; ++mask) {
    std::uint64_t ones = 0;
    for (unsigned i = 0; i < 8; ++i) table.order[mask] |= (ones += mask >> i & 1) << (8 * i);
  }
  return table;
}();

/// Of eight words, each is the one at `last` or, where the mask has a one, the next of those after
/// it. Returns where the last one is.
template <class Word>
const Word* repeat_eight(const Word* last, unsigned mask, Word* out) {
  const __m128i order =
      _mm_loadl_epi64(reinterpret_cast<const __m128i*>(&repeat_orders.order[mask]));
  const auto to = reinterpret_cast<__m128i*>(out);
  if constexpr (sizeof(Word) == 1) {
    const __m128i words = _mm_loadu_si128(reinterpret_cast<const __m128i*>(last));
    _mm_storel_epi64(to, _mm_shuffle_epi8(words, order));
  } else if constexpr (sizeof(Word) == 2) {
    const __m128i twice = _mm_add_epi8(order, order);
    const __m128i bytes = _mm_add_epi8(_mm_unpacklo_epi8(twice, twice), _mm_set1_epi16(0x0100));
    // Of nine words, the last one has no place in a vector.
    const __m128i next = _mm_loadu_si128(reinterpret_cast<const __m128i*>(last + 1));
    const __m128i some = _mm_shuffle_epi8(next, _mm_sub_epi8(bytes, _mm_set1_epi8(2)));
    const __m128i first = _mm_cmpgt_epi8(_mm_set1_epi8(2), bytes);
    _mm_storeu_si128(to, _mm_blendv_epi8(some, _mm_set1_epi16(static_cast<short>(*last)), first));
  } else {
    const __m256i places = _mm256_cvtepu8_epi32(order);
    const __m256i next = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(last + 1));
    const __m256i some =
        _mm256_permutevar8x32_epi32(next, _mm256_sub_epi32(places, _mm256_set1_epi32(1)));
    const __m256i first = _mm256_cmpeq_epi32(places, _mm256_setzero_si256());
    _mm256_storeu_si256(
        reinterpret_cast<__m256i*>(out),
        _mm256_blendv_epi8(some, _mm256_set1_epi32(static_cast<int>(*last)), first));
  }
  return last + count_ones(mask);
}
#endif

/// Each word as often as it is repeated. Up to 16 words before the packed ones and after them are
/// read.
template <class Word>
void repeat_words(const Word* packed, const std::uint64_t* masks, std::size_t count, Word* words) {
  const Word* last = packed - 1;
  std::size_t i = 0;
#ifdef __AVX2__
  for (; i + 8 <= count; i += 8) {
    last = repeat_eight(last, masks[i / mask_words] >> i % mask_words & 0xFF, words + i);
  }
#endif
  for (; i < count; ++i) {
    last += masks[i / mask_words] >> i % mask_words & 1;
    words[i] = *last;
  }
}

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
