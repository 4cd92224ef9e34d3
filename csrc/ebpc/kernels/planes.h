// How bit planes lie in vectors, for every size of words and of blocks.
//
// A vector has an element of 64 bits, a qword, for each of several blocks. Of a block, its planes
// are one qword after the other, with some planes each, the first one in the most significant
// lane. A lane has a bit for every place that a block may have for a word ("slot"), the first one
// most significant; blocks that have fewer words stand at the end.
//
// Plain C++, compiled once for every instruction set that includes it: vectors.h says how.

#pragma once

#include "ebpc/bit_stream.h"
#include "ebpc/kernels/group_sizes.h"
#include "ebpc/kernels/vectors.h"

namespace ebpc {
namespace {

/// Swaps bits i and i + distance of every qword for all i in `mask`.
template <int distance>
[[gnu::always_inline]] inline Qwords swap_bits(Qwords x, std::uint64_t mask) {
  const Qwords difference = (x ^ x >> distance) & mask;
  return x ^ difference ^ difference << distance;
}

/// Transposes 8 x 8 bits about the other diagonal: bit p of byte i goes to bit 7 - i of byte 7 - p,
/// and the same brings it back.
[[gnu::always_inline]] inline Qwords antitranspose(Qwords x) {
  x = swap_bits<9>(x, 0x0055005500550055);
  x = swap_bits<18>(x, 0x0000333300003333);
  return swap_bits<36>(x, 0x000000000F0F0F0F);
}

template <class WordType, int lane_bits_>
struct PlaneGroup {
  using Word = WordType;
  static constexpr int lane_bits = lane_bits_;
  using L = Lane<lane_bits>;
  using Lanes = Vector<L>;

  static constexpr std::size_t blocks = vector_qwords;  // side by side
  static constexpr int slots = lane_bits;
  static constexpr int lanes = 64 / lane_bits;     // of a qword
  static constexpr int planes = 8 * sizeof(Word);  // of a block, without that of the deltas' carry
  static constexpr int qwords = planes / lanes;    // of a block
  static constexpr int groups = slots / 8;         // of slots, 8 in each
  static constexpr std::uint64_t last_lane = low_bits(lane_bits);

  /// 8 planes in the bytes of `columns`, each of which has 8 slots, to lanes.
  [[gnu::always_inline]] static void spread(const Qwords (&columns)[groups], Qwords* planes) {
    if constexpr (lane_bits == 8) {
      planes[0] = columns[0];
    } else if constexpr (lane_bits == 16) {
      planes[0] = spread_half(columns[0] >> 32) << 8 | spread_half(columns[1] >> 32);
      planes[1] = spread_half(columns[0] & 0xFFFFFFFF) << 8 | spread_half(columns[1] & 0xFFFFFFFF);
    } else {
      for (int q = 0; q < 8 / lanes; ++q) {
        planes[q] = Qwords{};
        for (int lane = 0; lane < lanes; ++lane) {
          for (int group = 0; group < groups; ++group) {
            const Qwords byte = columns[group] >> byte_in_column(q, lane) & 0xFF;
            planes[q] |= byte << byte_in_lanes(lane, group);
          }
        }
      }
    }
  }

  /// The reverse.
  [[gnu::always_inline]] static void gather(const Qwords* planes, Qwords (&columns)[groups]) {
    if constexpr (lane_bits == 8) {
      columns[0] = planes[0];
    } else if constexpr (lane_bits == 16) {
      columns[0] = gather_half(planes[0] >> 8) << 32 | gather_half(planes[1] >> 8);
      columns[1] = gather_half(planes[0]) << 32 | gather_half(planes[1]);
    } else {
      for (int group = 0; group < groups; ++group) {
        columns[group] = Qwords{};
        for (int q = 0; q < 8 / lanes; ++q) {
          for (int lane = 0; lane < lanes; ++lane) {
            const Qwords byte = planes[q] >> byte_in_lanes(lane, group) & 0xFF;
            columns[group] |= byte << byte_in_column(q, lane);
          }
        }
      }
    }
  }

  /// What is in the lane before.
  [[gnu::always_inline]] static Qwords lane_before(const Qwords* x, int q) {
    if constexpr (lane_bits == 64) {
      return q > 0 ? x[q - 1] : Qwords{};
    } else {
      const Qwords moved = x[q] >> lane_bits;
      return q > 0 ? moved | x[q - 1] << (64 - lane_bits) : moved;
    }
  }

  /// The lanes of qword q that have one of the first `count` planes.
  static constexpr std::uint64_t first_planes(int count, int q) {
    const int used = count - q * lanes;
    if (used >= lanes) return ~std::uint64_t{0};
    return used <= 0 ? 0 : ~(~std::uint64_t{0} >> (used * lane_bits & 63));
  }

 private:
  static constexpr int byte_in_column(int q, int lane) { return 8 * (7 - q * lanes - lane); }
  static constexpr int byte_in_lanes(int lane, int group) {
    return (lanes - 1 - lane) * lane_bits + 8 * (groups - 1 - group);
  }

  /// The lower four bytes to the lower halves of lanes of 16 bits.
  static Qwords spread_half(Qwords x) {
    x = (x | x << 16) & 0x0000FFFF0000FFFF;
    return (x | x << 8) & 0x00FF00FF00FF00FF;
  }

  /// The lower halves of lanes of 16 bits to the lower four bytes.
  static Qwords gather_half(Qwords x) {
    x &= 0x00FF00FF00FF00FF;
    x = (x | x >> 8) & 0x0000FFFF0000FFFF;
    return (x | x >> 16) & 0xFFFFFFFF;
  }
};

}  // namespace
}  // namespace ebpc
