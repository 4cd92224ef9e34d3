// Words in memory: an array of 1-, 2- or 4-byte integers, sign- or zero-extended from word_bits.

#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "ebpc/assumptions.h"
#include "ebpc/bit_stream.h"
#include "ebpc/parameters.h"

namespace ebpc {

/// `count` words of `bytes_per_word` bytes each (1, 2 or 4), in the machine's byte order.
struct WordSpan {
  const void* data = nullptr;
  std::size_t count = 0;
  int bytes_per_word = 1;

  WordSpan part(std::size_t first, std::size_t length) const {
    return {
        static_cast<const std::uint8_t*>(data) + first * static_cast<std::size_t>(bytes_per_word),
        length, bytes_per_word};
  }
};

struct MutableWordSpan {
  void* data = nullptr;
  std::size_t count = 0;
  int bytes_per_word = 1;

  MutableWordSpan part(std::size_t first, std::size_t length) const {
    return {static_cast<std::uint8_t*>(data) + first * static_cast<std::size_t>(bytes_per_word),
            length, bytes_per_word};
  }
};

/// The bytes per word of the smallest integer that holds W bits.
constexpr int bytes_for_word(int word_bits) { return word_bits <= 8 ? 1 : word_bits <= 16 ? 2 : 4; }

/// Calls `visit` with a null pointer to the integer type that holds such words.
template <class Visitor>
auto visit_word_type(int bytes_per_word, bool is_signed, Visitor&& visit) {
  switch (bytes_per_word) {
    case 1:
      return is_signed ? visit(static_cast<std::int8_t*>(nullptr))
                       : visit(static_cast<std::uint8_t*>(nullptr));
    case 2:
      return is_signed ? visit(static_cast<std::int16_t*>(nullptr))
                       : visit(static_cast<std::uint16_t*>(nullptr));
    default:
      return is_signed ? visit(static_cast<std::int32_t*>(nullptr))
                       : visit(static_cast<std::uint32_t*>(nullptr));
  }
}

/// Bit i is set where word i of up to 64 is not the zero word.
template <class Word>
std::uint64_t nonzero_mask(const Word* words, int count, Word zero) {
  std::uint64_t mask = 0;
  if constexpr (sizeof(Word) == 1) {
    if (count == 64) {
      const std::uint64_t zeros =
          std::uint64_t{0x0101010101010101} * static_cast<std::uint8_t>(zero);
      // Bit 7 of each byte becomes whether it is non-zero; the product gathers these in its top
      // byte.
      constexpr std::uint64_t top = 0x8080808080808080;
      for (int i = 0; i < 64; i += 8) {
        const std::uint64_t eight =
            load_little_endian(reinterpret_cast<const std::uint8_t*>(words + i)) ^ zeros;
        const std::uint64_t nonzero = (((eight & ~top) + ~top) | eight) & top;
        mask |= (nonzero >> 7) * 0x0102040810204080 >> 56 << i;
      }
      return mask;
    }
  }
  for (int i = 0; i < count; ++i) mask |= static_cast<std::uint64_t>(words[i] != zero) << i;
  return mask;
}

/// A mask of `count` words, 1 to 64, as a code: the first word's bit comes first in a stream, but
/// is the mask's lowest.
constexpr std::uint64_t mask_code(std::uint64_t mask, int count) {
  mask = (mask >> 1 & 0x5555555555555555) | (mask & 0x5555555555555555) << 1;
  mask = (mask >> 2 & 0x3333333333333333) | (mask & 0x3333333333333333) << 2;
  mask = (mask >> 4 & 0x0F0F0F0F0F0F0F0F) | (mask & 0x0F0F0F0F0F0F0F0F) << 4;
  return byte_swap(mask) >> (64 - count);
}

/// The bits of a word as they are written.
template <class Word>
std::uint64_t bits_of(Word word, int word_bits) {
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(word)) &
         ~std::uint64_t{0} >> (64 - word_bits);
}

/// The low `word_bits` bits of `bits` as a word.
constexpr std::int64_t extended_word(std::uint64_t bits, int word_bits, bool is_signed) {
  const int unused = 64 - word_bits;
  return is_signed ? static_cast<std::int64_t>(bits << unused) >> unused
                   : static_cast<std::int64_t>(bits << unused >> unused);
}

/// The words that are not p.zero.
std::uint64_t count_nonzero(const Parameters& p, WordSpan words);

/// The index of the first word that does not fit into p.word_bits, or words.count if all do.
std::size_t first_misfit(const Parameters& p, WordSpan words);

/// The word at `index`, for messages.
std::int64_t word_at(const Parameters& p, WordSpan words, std::size_t index);

}  // namespace ebpc
