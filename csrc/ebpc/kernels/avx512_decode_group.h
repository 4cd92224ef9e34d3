// How the bit planes of blocks lie in memory between the plane stream and the words, for every size
// of words and of blocks.

#pragma once

#include <algorithm>
#include <array>

#include "ebpc/kernels/avx512_bits.h"
#include "ebpc/kernels/group_sizes.h"

namespace ebpc {
namespace {

/// Words of the longest transmission that is decoded here: longer ones are left to the portable
/// kernel.
constexpr std::size_t longest_job = 4096;

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
  using Lane = ebpc::Lane<slots_>;
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

}  // namespace
}  // namespace ebpc
