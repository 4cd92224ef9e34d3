// How the bit planes of blocks lie in memory between the plane stream and the words, for every size
// of words and of blocks.

#pragma once

#include <algorithm>
#include <array>

#include "ebpc/kernels/avx512_bits.h"
#include "ebpc/parameters.h"

namespace ebpc {
namespace {

/// Blocks of up to `slots` words. A plane is in a lane from the most significant bit on: the bit
/// that says that it came uncompressed, then the bits of the deltas; what is behind those is
/// undefined. Lanes are wider than that, so that one shift within them brings bits from anywhere in
/// a byte to their front.
template <class WordType, int slots_>
struct DecodeGroup {
  using Word = WordType;
  using Lane = std::conditional_t<
      slots_ == 8, std::uint16_t,
      std::conditional_t<slots_ == 16, std::uint32_t, std::uint64_t>>;
  static constexpr int slots = slots_;
  static constexpr int word_bytes = sizeof(Word);
  static constexpr int planes = 8 * word_bytes;  // of a block, without that of the deltas' carry
  static constexpr int lane_bytes = sizeof(Lane);
  static constexpr int lane_bits = 8 * lane_bytes;
  static constexpr int block_bytes = planes * lane_bytes;
  static constexpr int step_bytes = std::clamp(block_bytes, 32, 64);  // that are parsed at once
  static constexpr int step_lanes = step_bytes / lane_bytes;
  static constexpr int vector_blocks = std::max(1, 64 / (word_bytes * slots));  // in words
  static constexpr int block_vectors = std::max(1, word_bytes* slots / 64);
  static constexpr int plane_vectors = vector_blocks * block_bytes / 64;  // of a vector's blocks

  static constexpr int block_eights = slots / 8;        // groups of 8 words in a block
  static constexpr int vector_eights = 8 / word_bytes;  // and in a vector

  using Indices = std::array<std::uint8_t, 64>;

  /// Bytes of planes to 64-bit lanes of 8 planes' bits of 8 deltas, the first plane's last. Where a
  /// block's words take several vectors, `part` is the one that is made.
  static constexpr auto gather_columns = [] {
    std::array<Indices, block_vectors> indices{};
    for (int part = 0; part < block_vectors; ++part) {
      for (int i = 0; i < 64; ++i) {
        const int eight = part * vector_eights + i / 8 % vector_eights;
        const int block = eight / block_eights;
        const int plane = 8 * (i / 8 / vector_eights) + 7 - i % 8;
        const int byte = lane_bytes - 1 - eight % block_eights;
        indices[static_cast<std::size_t>(part)][static_cast<std::size_t>(i)] =
            static_cast<std::uint8_t>((block * planes + plane) * lane_bytes + byte);
      }
    }
    return indices;
  }();

  /// The bytes that come from each vector of planes.
  static constexpr auto gather_masks = [] {
    std::array<std::array<std::uint64_t, plane_vectors>, block_vectors> masks{};
    for (std::size_t part = 0; part < block_vectors; ++part) {
      for (std::size_t i = 0; i < 64; ++i) {
        masks[part][gather_columns[part][i] / 64] |= std::uint64_t{1} << i;
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
      indices[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(8 * qword + word % 8);
    }
    return indices;
  }();

  /// Bases, one after the other, to the first words of blocks; and the bytes of these.
  static constexpr Indices gather_bases = [] {
    Indices indices{};
    for (int i = 0; i < 64; ++i) {
      const int word = i / word_bytes;
      indices[static_cast<std::size_t>(i)] =
          static_cast<std::uint8_t>(word / slots * word_bytes + i % word_bytes);
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

/// Calls `visit` with a null pointer to the DecodeGroup for these settings.
template <class Visitor>
auto visit_decode_group(const Parameters& p, int bytes_per_word, Visitor&& visit) {
  const auto with_word = [&]<class Word>(Word*) {
    if (p.block_size <= 8) return visit(static_cast<DecodeGroup<Word, 8>*>(nullptr));
    if (p.block_size <= 16) return visit(static_cast<DecodeGroup<Word, 16>*>(nullptr));
    if (p.block_size <= 32) return visit(static_cast<DecodeGroup<Word, 32>*>(nullptr));
    return visit(static_cast<DecodeGroup<Word, 64>*>(nullptr));
  };
  switch (bytes_per_word) {
    case 1:
      return with_word(static_cast<std::uint8_t*>(nullptr));
    case 2:
      return with_word(static_cast<std::uint16_t*>(nullptr));
    default:
      return with_word(static_cast<std::uint32_t*>(nullptr));
  }
}

}  // namespace
}  // namespace ebpc
