// What follows from the parameters for reading plane streams.

#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "ebpc/kernels/avx512/stream_lanes.h"
#include "ebpc/kernels/plane_codes.h"

namespace ebpc::avx512 {
namespace {

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

/// Where the parser of a stream is: everything in one number, so that it moves on by one addition.
/// From the lowest bit on:
///   the next bit of the stream
///   where the next plane goes, in bytes
///   most_blocks less the blocks that are still to come, which ends with a carry into
///   1 if there are none
///   planes of the block that are still to come, as a signed number: negative where a step took
///   more than there were
/// The first two count from the beginning of the stream's memory.
using Position = std::uint64_t;

constexpr int out_bit = 23;
constexpr int block_bit = 43;
constexpr int end_bit = 55;
constexpr int left_bit = 56;
constexpr std::uint64_t most_blocks = std::uint64_t{1} << (end_bit - block_bit);

/// What moves a position on, or a position itself. Any of it may be negative.
constexpr Position position(std::uint64_t bits, std::uint64_t out_bytes, std::uint64_t blocks,
                            std::uint64_t planes) {
  return bits + (out_bytes << out_bit) + (blocks << block_bit) + (planes << left_bit);
}

inline std::uint64_t field(Position position, int first, int end) {
  return _bextr_u64(position, static_cast<unsigned>(first), static_cast<unsigned>(end - first));
}
inline std::uint64_t bit_of(Position position) { return field(position, 0, out_bit); }
inline std::uint64_t byte_of(Position position) { return field(position, 3, out_bit); }
inline std::uint64_t out_of(Position position) { return field(position, out_bit, block_bit); }
inline std::uint64_t block_of(Position position) { return field(position, block_bit, end_bit); }
inline std::uint64_t left_of(Position position) { return position >> left_bit; }
inline bool is_at_end(Position position) { return (position >> end_bit & 1) != 0; }
inline bool is_too_far(Position position) { return static_cast<std::int64_t>(position) < 0; }

/// What stands for a plane of ones among codes of 8 bits; a zero plane is 0 in any case.
constexpr std::uint8_t all_ones_code = 1;

/// The codes of a block's planes. A code that is no uncompressed plane is a symbol here.
///
/// If `eights`, planes of one or two ones, whose codes have 8 bits as those of uncompressed planes
/// have, are taken for such: codes stand for the planes until all of a block is there.
template <class Group, bool base_sent_, bool eights_>
struct RowSyntax {
  static constexpr bool base_sent = base_sent_;
  static constexpr bool eights = eights_;
  static_assert(!eights || (base_sent && Group::slots == 8));

  using Lane = typename Group::Lane;

  struct RowSymbol {
    Position step = 0;
    std::conditional_t<sizeof(Lane) == 8, Lane, std::uint32_t> lane = 0;  // the first plane
    std::uint32_t repeats = 0;  // 1 if that is zero before the XOR, so that it repeats the last one
  };

  explicit RowSyntax(const Parameters& p)
      : base_bits(base_sent ? static_cast<std::uint64_t>(p.word_bits) : 0),
        planes(static_cast<std::uint64_t>(plane_count(p))),
        plane_size(plane_bits(p)),
        index_bits(log2_ceil(static_cast<std::uint32_t>(p.block_size))),
        run_bits(log2_ceil(static_cast<std::uint32_t>(p.word_bits))),
        symbol_shift(64 - (5 + std::max(index_bits, run_bits))),
        base_shift(static_cast<int>(64 - base_bits)),
        raw_step(
            position(static_cast<std::uint64_t>(1 + plane_size), Group::lane_bytes, 0, minus_one)),
        block_step(position(base_bits, Group::block_bytes - Group::lane_bytes * planes, 1, planes)),
        symbols(std::size_t{1} << (64 - symbol_shift)) {
    for (std::size_t i = 0; i < symbols.size() / 2; ++i) symbols[i] = symbol_of(i << symbol_shift);
  }

  std::uint64_t base_bits;
  std::uint64_t planes;  // of a block
  int plane_size;        // bits of a plane
  int index_bits;
  int run_bits;
  int symbol_shift;                // leaves the bits of the longest symbol
  int base_shift;                  // leaves a base
  Position raw_step;               // for an uncompressed plane
  Position block_step;             // from behind a block to the planes of the next one
  std::vector<RowSymbol> symbols;  // by their first bits; empty where an uncompressed plane follows

 private:
  static constexpr std::uint64_t minus_one = ~std::uint64_t{0};
  // More than a block has. A row of 32 planes in front of them may be too far already, and yet the
  // number of planes to come must not come around to positive ones.
  static constexpr std::uint64_t too_many_planes = 40;
  static_assert(32 + too_many_planes < std::uint64_t{1} << (63 - left_bit));

  static RowSymbol symbol(std::uint64_t lane, std::uint64_t planes, int bits) {
    RowSymbol s;
    s.step = position(static_cast<std::uint64_t>(bits), Group::lane_bytes * planes, 0,
                      minus_one * planes);
    s.lane = static_cast<Lane>(lane);
    return s;
  }

  RowSymbol symbol_of(std::uint64_t window) const {
    const FirstCode code = first_code(window, {plane_size, index_bits, run_bits});
    if (eights && code.is_indexed) return {};
    const std::uint64_t lane = eights && code.x != 0
                                   ? all_ones_code
                                   : code.x << (Group::lane_bits - base_sent - plane_size);
    RowSymbol s = symbol(lane, code.is_valid ? code.planes : too_many_planes, code.bits);
    s.repeats = code.plane_is_zero ? 1 : 0;
    return s;
  }
};

/// X of the codes of planes, which may be uncompressed planes themselves: by their low 6 bits, for
/// codes of 8 bits and what stands for others. An index past the end of the plane gives a plane
/// whose unused bit is set.
inline constexpr auto planes_of_codes = [] {
  std::array<std::uint8_t, 64> planes{};
  planes[all_ones_code] = 0x7F;
  for (unsigned code = 0x10; code < 0x20; ++code) {
    const FirstCode first = first_code_of(code, 8, common_code_sizes);
    planes[code] = static_cast<std::uint8_t>(first.is_valid ? first.x : 0x80);
  }
  return planes;
}();

inline std::uint8_t plane_of_code(std::uint8_t code) {
  return code >= 0x80 ? code : planes_of_codes[code & 0x3F];
}

/// Calls `visit` with null pointers to the DecodeGroup and the syntax for these settings.
template <class Visitor>
auto visit_plane_syntax(const Parameters& p, int bytes_per_word, Visitor&& visit) {
  return visit_group<DecodeGroup>(bytes_per_word, p.block_size, [&]<class Group>(Group* group) {
    if (p.base == Base::reused) {
      return visit(group, static_cast<RowSyntax<Group, false, false>*>(nullptr));
    }
    return visit(group, static_cast<RowSyntax<Group, true, Group::slots == 8>*>(nullptr));
  });
}

}  // namespace
}  // namespace ebpc::avx512
