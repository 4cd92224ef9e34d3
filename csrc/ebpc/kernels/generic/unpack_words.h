// Words back to where the ones of a mask are: the reverse of pack_words.h.
//
// Plain C++, compiled once for every instruction set that includes it: vectors.h says how.

#pragma once

#include "ebpc/kernels/generic/vectors.h"
#ifndef __BMI2__
#include "ebpc/kernels/generic/pack_words.h"
#endif

namespace ebpc::EBPC_KERNEL {
namespace {

// unpack_qword puts the next packed words under the ones of a mask of as many words as a qword
// holds, and the zero word elsewhere. It returns where the packed ones go on; 8 bytes of them are
// read.

#ifdef __BMI2__

template <class Word>
[[gnu::always_inline]] inline const Word* unpack_qword(const Word* packed, std::uint64_t mask,
                                                       Word zero, Word* words) {
  constexpr int word_bits = 8 * sizeof(Word);
  std::uint64_t x;
  std::memcpy(&x, packed, sizeof x);
  mask &= low_bits(64 / word_bits);
  const std::uint64_t places =
      __builtin_ia32_pdep_di(mask, lane_ones<word_bits>) * low_bits(word_bits);
  x = __builtin_ia32_pdep_di(x, places) | (~places & lane_ones<word_bits> * zero);
  std::memcpy(words, &x, sizeof x);
  return packed + __builtin_popcountll(mask);
}

#else

template <class Word>
const Word* unpack_qword(const Word* packed, std::uint64_t mask, Word zero, Word* words) {
  constexpr int word_bits = 8 * sizeof(Word);
  constexpr int count = 64 / word_bits;
  const auto& entry = pack_table<count>.entries[mask & low_bits(count)];
  std::uint64_t x = load_words(packed) & low_bits(word_bits * static_cast<int>(entry.count));
  int step = 0;
  while (1 << (step + 1) < count) ++step;
  for (; step >= 0; --step) {
    const std::uint64_t moved = x & entry.moves[step] >> (word_bits << step);
    x = (x ^ moved) | moved << (word_bits << step);
  }
  store_words(words, x);
  for (int i = 0; i < count; ++i) {
    if ((mask >> i & 1) == 0) words[i] = zero;
  }
  return packed + entry.count;
}

inline const std::uint32_t* unpack_qword(const std::uint32_t* packed, std::uint64_t mask,
                                         std::uint32_t zero, std::uint32_t* words) {
  for (int i = 0; i < 2; ++i, mask >>= 1) {
    words[i] = (mask & 1) != 0 ? *packed : zero;
    packed += mask & 1;
  }
  return packed;
}

#endif

/// The same for a mask of 64 words.
template <class Word>
const Word* unpack_mask(const Word* packed, std::uint64_t mask, Word zero, Word* words) {
  constexpr int at_once = 8 / sizeof(Word);
  for (int i = 0; i < 64; i += at_once, mask >>= at_once) {
    packed = unpack_qword(packed, mask, zero, words + i);
  }
  return packed;
}

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
