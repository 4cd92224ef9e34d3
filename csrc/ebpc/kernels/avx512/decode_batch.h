// How the bit planes of blocks lie in memory between the plane stream and the words, for every size
// of words and of blocks.

#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "ebpc/kernels/avx512/bits.h"
#include "ebpc/kernels/generic/jobs.h"
#include "ebpc/kernels/kernel.h"

namespace ebpc::avx512 {
namespace {

/// Parts of memory are aligned for the planes of any block.
constexpr std::size_t alignment = 256;
constexpr std::size_t round_up(std::size_t x) {
  return (x + alignment - 1) / alignment * alignment;
}

constexpr std::size_t index(int i) { return static_cast<std::size_t>(i); }

/// Blocks of up to `slots` words. A plane is in a lane of as many bits, from the most significant
/// one on: behind a base, first a bit that is not used, since there is no delta for the base; then
/// the bits of the deltas; what is behind those is undefined.
template <class WordType, int slots_>
struct DecodeGroup {
  using Word = WordType;
  using Lane = avx512::Lane<slots_>;
  static constexpr int slots = slots_;
  static constexpr int word_bytes = sizeof(Word);
  static constexpr int planes = 8 * word_bytes;  // of a block, without that of the deltas' carry
  static constexpr int lane_bytes = sizeof(Lane);
  static constexpr int lane_bits = 8 * lane_bytes;
  static constexpr int block_bytes = planes * lane_bytes;
  static constexpr int vector_blocks = std::max(1, 64 / block_bytes);
  static constexpr int block_vectors = std::max(1, block_bytes / 64);  // of planes, and of words

  static constexpr int vector_eights = 8 / word_bytes;  // groups of 8 words in a vector

  using Indices = std::array<std::uint8_t, 64>;

  /// Bytes of planes to 64-bit lanes of 8 planes' bits of 8 deltas, the first plane's last. Where a
  /// block takes several vectors, `part` is the vector of words that is made, from bytes of several
  /// vectors of planes.
  static constexpr auto gather_columns = [] {
    std::array<Indices, block_vectors> indices{};
    for (int part = 0; part < block_vectors; ++part) {
      for (int i = 0; i < 64; ++i) {
        const int eight = part * vector_eights + i / 8 % vector_eights;
        const int block = eight / lane_bytes;
        const int plane = 8 * (i / 8 / vector_eights) + 7 - i % 8;
        const int byte = lane_bytes - 1 - eight % lane_bytes;
        indices[index(part)][index(i)] =
            static_cast<std::uint8_t>((block * planes + plane) * lane_bytes + byte);
      }
    }
    return indices;
  }();

  /// The bytes that come from each vector of planes.
  static constexpr auto gather_masks = [] {
    std::array<std::array<std::uint64_t, block_vectors>, block_vectors> masks{};
    for (int part = 0; part < block_vectors; ++part) {
      for (int i = 0; i < 64; ++i) {
        masks[index(part)][gather_columns[index(part)][index(i)] / 64] |= std::uint64_t{1} << i;
      }
    }
    return masks;
  }();

  /// The transposed columns, in which the bytes of 8 words have a 64-bit lane for each weight, to
  /// words.
  static constexpr Indices gather_words = [] {
    Indices indices{};
    for (int i = 0; i < 64; ++i) {
      const int word = i / word_bytes;
      const int qword = i % word_bytes * vector_eights + word / 8;
      indices[index(i)] = static_cast<std::uint8_t>(8 * qword + word % 8);
    }
    return indices;
  }();

  /// Bases, one after the other, to the first words of blocks; and the bytes of these.
  static constexpr Indices gather_bases = [] {
    Indices indices{};
    for (int i = 0; i < 64; ++i) {
      indices[index(i)] =
          static_cast<std::uint8_t>(i / word_bytes / slots * word_bytes + i % word_bytes);
    }
    return indices;
  }();
  static constexpr std::uint64_t base_mask = [] {
    std::uint64_t mask = 0;
    for (int i = 0; i < 64; ++i) {
      if (i / word_bytes % slots == 0) mask |= std::uint64_t{1} << i;
    }
    return mask;
  }();
};

/// Memory of one thread that is used again by the next call.
class ThreadMemory {
 public:
  /// At least `size` bytes, aligned; what was there before is lost if there were fewer.
  std::uint8_t* get(std::size_t size) {
    if (bytes_.size() < size + alignment) bytes_.resize(size + alignment);
    const auto address = reinterpret_cast<std::uintptr_t>(bytes_.data());
    return bytes_.data() + (-address & (alignment - 1));
  }

 private:
  std::vector<std::uint8_t> bytes_;
};

// ---- Non-zero words back to their places among the zeros.

/// Spreads non-zero words over `count` words under a mask of them; where the mask has none, zero is
/// written. Both the mask and the non-zero words are read in vectors.
template <class Word>
void expand_words(const std::uint8_t* mask_bytes, const Word* nonzero, Word* words,
                  std::size_t count) {
  constexpr std::size_t vector_words = 64 / sizeof(Word);
  for (std::size_t first = 0; first < count; first += vector_words) {
    std::uint64_t mask = 0;
    std::memcpy(&mask, mask_bytes + first / 8, vector_words / 8);
    const __m512i packed = load_512(nonzero);
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
      store_512(words + first, vector);
    } else {
      _mm512_mask_storeu_epi8(words + first, low_bits(static_cast<int>(bytes)), vector);
    }
  }
}

}  // namespace
}  // namespace ebpc::avx512
