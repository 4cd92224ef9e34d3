// How bit planes of blocks lie in vectors, for every size of words and of planes.

#pragma once

#include <algorithm>
#include <array>

#include "ebpc/kernels/avx512_bits.h"
#include "ebpc/kernels/group_sizes.h"

namespace ebpc {
namespace {

/// A group of blocks whose bit planes make 64 lanes of `lane_bits`: 8, 4 or 2 blocks of 8-, 16- or
/// 32-bit words. All its index tables follow from these two numbers.
template <class WordType, int lane_bits_>
struct PlaneGroup {
  using Word = WordType;
  using Lane = ebpc::Lane<lane_bits_>;
  static constexpr int lane_bits = lane_bits_;
  static constexpr int word_bytes = sizeof(Word);
  static constexpr int planes = 8 * word_bytes;  // of a block, without that of the deltas' carry
  static constexpr int blocks = 64 / planes;     // of a group
  static constexpr int lane_bytes = lane_bits / 8;
  static constexpr int vectors = lane_bytes;  // 64 lanes
  static constexpr int slots = lane_bits;     // places for words in a block
  static constexpr int block_vectors = std::max(1, word_bytes* lane_bits / 64);
  static constexpr int vector_blocks = std::max(1, 64 / (word_bytes * lane_bits));
  static constexpr int vector_lanes = 64 / lane_bytes;
  static constexpr int block_qwords = planes * lane_bits / 64;

  using Indices = std::array<std::uint8_t, 64>;

  /// Bytes of words to bytes of equal weight, those of 8 words in each 64-bit lane.
  static constexpr Indices gather_bytes = [] {
    Indices indices{};
    constexpr int words_of_8 = 8 / word_bytes / vector_blocks;  // of one block in a vector
    for (int i = 0; i < 64; ++i) {
      const int word_in_8 = i % 8;
      const int qword = i / 8;
      const int eight = qword % words_of_8;
      const int byte = qword / words_of_8 % word_bytes;
      const int block = qword / words_of_8 / word_bytes;
      const int word = (block * words_of_8 + eight) * 8 + word_in_8;
      indices[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(word * word_bytes + byte);
    }
    return indices;
  }();

  /// 8 bits of 8 planes in each 64-bit lane, as gather_bytes and the transposition leave them, to
  /// whole planes. Where a block takes several vectors, an index counts through the bytes of all
  /// vectors of the block, and `part` is the one that is made.
  static constexpr auto gather_planes = [] {
    std::array<std::array<std::uint8_t, 64>, block_vectors> indices{};
    constexpr int words_of_8 = 8 / word_bytes / vector_blocks;
    for (int part = 0; part < block_vectors; ++part) {
      for (int i = 0; i < 64; ++i) {
        const int lane = i / lane_bytes;
        const int block = lane / planes;
        const int plane = (part * vector_lanes + lane) % planes;
        const int eight = lane_bytes - 1 - i % lane_bytes;
        const int vector = eight / words_of_8 % block_vectors;
        const int qword = (block * word_bytes + plane / 8) * words_of_8 + eight % words_of_8;
        indices[static_cast<std::size_t>(part)][static_cast<std::size_t>(i)] =
            static_cast<std::uint8_t>(vector * 64 + qword * 8 + plane % 8);
      }
    }
    return indices;
  }();

  /// The same lanes of every block; `block_lanes` are those of the first one.
  static constexpr std::uint64_t every_block(std::uint64_t block_lanes) {
    std::uint64_t lanes = 0;
    for (int block = 0; block < blocks; ++block) lanes |= block_lanes << (block * planes);
    return lanes;
  }
};

}  // namespace
}  // namespace ebpc
