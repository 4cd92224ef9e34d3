// Words back to where the ones of a mask are: the reverse of pack_words.h.
//
// Plain C++, compiled once for every instruction set that includes it: vectors.h says how.

#pragma once

#include "ebpc/bit_stream.h"
#include "ebpc/kernels/generic/vectors.h"

namespace ebpc::EBPC_KERNEL {
namespace {

/// Puts packed words under the ones of a mask of 64 words, and the zero word elsewhere. Returns
/// where the packed ones go on; 16 more are read.
template <class Word>
const Word* unpack_mask(const Word* packed, std::uint64_t mask, Word zero, Word* words) {
  // Of every run as many words are copied, and zero words are put behind it: more than are needed,
  // and always as many, so that there is no loop within the loop.
  constexpr int at_once = 16;
  Word unpacked[64 + 2 * at_once];
  for (Word& word : unpacked) word = zero;
  for (Word* to = unpacked; mask != 0;) {
    const int zeros = __builtin_ctzll(mask);
    mask >>= zeros;
    to += zeros;
    const int ones = __builtin_ctzll(~mask | std::uint64_t{1} << at_once);
    mask >>= ones;
    std::memcpy(to, packed, at_once * sizeof(Word));
    packed += ones;
    to += ones;
    for (int i = 0; i < at_once; ++i) to[i] = zero;
  }
  std::memcpy(words, unpacked, 64 * sizeof(Word));
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
