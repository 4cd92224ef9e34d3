// Non-zero words without the gaps and masks of where they were, and back.

#pragma once

#include "ebpc/bit_stream.h"
#include "ebpc/kernels/generic/vectors.h"

namespace ebpc::EBPC_KERNEL {
namespace {

/// The words of a qword in the other order.
template <class Word>
std::uint64_t reverse_words(std::uint64_t x) {
  x = byte_swap(x);
  if constexpr (sizeof(Word) == 2) {
    x = (x >> 8 & 0x00FF00FF00FF00FF) | (x & 0x00FF00FF00FF00FF) << 8;
  }
  return x;
}

/// As many words as a qword holds, the first one least significant.
template <class Word>
std::uint64_t load_words(const Word* words) {
  std::uint64_t x;
  std::memcpy(&x, words, sizeof x);
  return std::endian::native == std::endian::big ? reverse_words<Word>(x) : x;
}

template <class Word>
void store_words(Word* words, std::uint64_t x) {
  if constexpr (std::endian::native == std::endian::big) x = reverse_words<Word>(x);
  std::memcpy(words, &x, sizeof x);
}

/// Transposes 8 x 8 bits: bit p of byte i goes to bit i of byte p.
inline std::uint64_t transpose_qword(std::uint64_t x) {
  std::uint64_t t = (x ^ x >> 7) & 0x00AA00AA00AA00AA;
  x ^= t ^ t << 7;
  t = (x ^ x >> 14) & 0x0000CCCC0000CCCC;
  x ^= t ^ t << 14;
  t = (x ^ x >> 28) & 0x00000000F0F0F0F0;
  return x ^ t ^ t << 28;
}

/// How the words under the ones of a mask come to the front of a qword: those that have to move by
/// one word, then those by two, then those by four ("compress": Hacker's Delight, 7-4).
template <int words>
struct PackTable {
  struct Entry {
    std::uint64_t moves[words == 8 ? 3 : 2];
    std::size_t count;
  };
  Entry entries[1 << words];
};

template <int words>
constexpr PackTable<words> make_pack_table() {
  constexpr std::uint64_t word = low_bits(64 / words);
  PackTable<words> table{};
  for (unsigned mask = 0; mask < 1U << words; ++mask) {
    auto& entry = table.entries[mask];
    for (std::uint64_t i = 0; i < words; ++i) {
      if ((mask >> i & 1) == 0) continue;
      const std::uint64_t distance = i - entry.count++;
      std::uint64_t place = i;
      for (int step = 0; 1 << step < words; ++step) {
        if ((distance >> step & 1) == 0) continue;
        entry.moves[step] |= word << (64 / words * place);
        place -= std::uint64_t{1} << step;
      }
    }
  }
  return table;
}

template <int words>
constexpr PackTable<words> pack_table = make_pack_table<words>();

/// Appends those words under the ones of a mask, of as many as a qword holds; the others are equal
/// to `zero`. Writes 8 bytes.
template <class Word>
Word* pack_qword(const Word* words, std::uint64_t mask, Word zero, Word* packed) {
  constexpr int count = 8 / sizeof(Word);
  const auto& entry = pack_table<count>.entries[mask & low_bits(count)];
  // Moved words are ORed into the places of others, which have to be 0 for it.
  const std::uint64_t zeros = lane_ones<8 * sizeof(Word)> * zero;
  std::uint64_t x = load_words(words) ^ zeros;
  for (int step = 0; 1 << step < count; ++step) {
    const std::uint64_t moved = x & entry.moves[step];
    x = (x ^ moved) | moved >> (8 * sizeof(Word) << step);
  }
  store_words(packed, x ^ zeros);
  return packed + entry.count;
}

inline std::uint32_t* pack_qword(const std::uint32_t* words, std::uint64_t mask,
                                 std::uint32_t /*zero*/, std::uint32_t* packed) {
  *packed = words[0];
  packed += mask & 1;
  *packed = words[1];
  return packed + (mask >> 1 & 1);
}

/// A mask of 64 words, of which each has one byte of ones where it is zero.
inline std::uint64_t nonzero_mask(const std::uint8_t* zeros) {
  // Bit 2 k of byte i for word 16 k + i, and bit 2 k + 1 for word 16 k + 8 + i.
  Vector<std::uint8_t> bits{};
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < 64; i += vector_bytes) {
    const Vector<std::uint8_t> bit = all_elements(static_cast<std::uint8_t>(1 << i / 8));
    bits |= load_vector(zeros + i) & bit;
  }
  const Qwords qwords = vector_cast<std::uint64_t>(bits);
  for (std::size_t i = 0; i < vector_qwords; ++i) bytes |= qwords[i] << i;
  if constexpr (std::endian::native == std::endian::big) bytes = byte_swap(bytes);
  return ~transpose_qword(bytes);
}

template <class Word>
std::uint64_t nonzero_mask_of(const Word* words, Word zero) {
  alignas(vector_bytes) std::uint8_t zeros[64];
  for (int i = 0; i < 64; ++i) zeros[i] = words[i] == zero ? 0xFF : 0;
  return nonzero_mask(zeros);
}

/// Packs whole masks of 64 words; returns the end of the packed ones. Writes up to 8 bytes after
/// it.
template <class Word>
Word* pack_masks(const Word* words, std::size_t mask_count, Word zero, std::uint64_t* masks,
                 Word* packed) {
  constexpr int at_once = 8 / sizeof(Word);
  for (std::size_t i = 0; i < mask_count; ++i) {
    std::uint64_t mask = nonzero_mask_of(words, zero);
    masks[i] = mask;
    for (int k = 0; k < 64; k += at_once, words += at_once) {
      packed = pack_qword(words, mask, zero, packed);
      mask >>= at_once;
    }
  }
  return packed;
}

// ---- The reverse.

/// Puts packed words under the ones of a mask of 64 words, and the zero word elsewhere. Returns
/// where the packed ones go on; 16 more are read.
template <class Word>
const Word* unpack_mask(const Word* packed, std::uint64_t mask, Word zero, Word* words) {
  // Of every run as many words are copied, and zero words are put after it: more than are needed,
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

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
