// The plane stream: the non-zero words, delta coded, cut into bit planes, XORed and mapped to a
// prefix code (bit-plane compression: Kim et al., ISCA 2016; JETCAS 2019, section III-B and table
// I). What its encoder and its decoder share.

#pragma once

#include <array>
#include <cstdint>

#include "ebpc/parameters.h"

namespace ebpc {

/// The two prefixes in which EBPC differs from plain bit-plane compression. All others are shared.
struct PlaneCodes {
  struct Prefix {
    std::uint8_t code;
    std::uint8_t bits;
  };
  Prefix zero_run;     // two or more zero planes; a length field of log2_ceil(W) bits follows
  Prefix single_zero;  // one zero plane
};

inline constexpr PlaneCodes ebpc_codes{{0b001, 3}, {0b01, 2}};
inline constexpr PlaneCodes isca2016_codes{{0b01, 2}, {0b001, 3}};

inline constexpr int short_prefix_bits = 5;
inline constexpr std::uint8_t prefix_all_ones = 0b00000;
inline constexpr std::uint8_t prefix_plane_zero = 0b00001;
inline constexpr std::uint8_t prefix_two_ones = 0b00010;
inline constexpr std::uint8_t prefix_single_one = 0b00011;

/// Transposes 8 x 8 bits: rows are bytes, the first row and column the most significant.
constexpr std::uint64_t transpose_8x8(std::uint64_t x) {
  std::uint64_t t = (x ^ (x >> 7)) & 0x00AA00AA00AA00AA;
  x ^= t ^ (t << 7);
  t = (x ^ (x >> 14)) & 0x0000CCCC0000CCCC;
  x ^= t ^ (t << 14);
  t = (x ^ (x >> 28)) & 0x00000000F0F0F0F0;
  return x ^ t ^ (t << 28);
}

using BlockDeltas = std::array<std::uint64_t, max_block_size>;  // each in its low W + 1 bits
using BlockPlanes = std::array<std::uint64_t, 8 * 5>;  // W + 1 <= 33 planes, rounded up to bytes

/// Bit p of every delta becomes plane p, the first delta its most significant bit (DBP).
inline void planes_from_deltas(const BlockDeltas& deltas, int delta_count, int planes,
                               BlockPlanes& out) {
  const int groups = (delta_count + 7) / 8;
  for (int low = 0; low < planes; low += 8) {
    for (int i = 0; i < 8; ++i) out[static_cast<std::size_t>(low + i)] = 0;
    for (int group = 0; group < groups; ++group) {
      std::uint64_t rows = 0;
      for (int i = 8 * group; i < 8 * group + 8; ++i) {
        const std::uint64_t delta = i < delta_count ? deltas[static_cast<std::size_t>(i)] : 0;
        rows = rows << 8 | (delta >> low & 0xFF);
      }
      const std::uint64_t columns = transpose_8x8(rows);
      for (int i = 0; i < 8; ++i) {
        auto& plane = out[static_cast<std::size_t>(low + i)];
        plane = plane << 8 | (columns >> (8 * i) & 0xFF);
      }
    }
    for (int i = 0; i < 8; ++i) out[static_cast<std::size_t>(low + i)] >>= 8 * groups - delta_count;
  }
}

/// The reverse of planes_from_deltas; planes above `planes` are taken as zero.
inline void deltas_from_planes(const BlockPlanes& planes_in, int delta_count, int planes,
                               BlockDeltas& out) {
  const int groups = (delta_count + 7) / 8;
  const int unused = 8 * groups - delta_count;
  for (int group = 0; group < groups; ++group) {
    std::array<std::uint64_t, 8> deltas{};
    for (int low = 0; low < planes; low += 8) {
      std::uint64_t columns = 0;
      for (int i = 7; i >= 0; --i) {
        const std::uint64_t plane =
            low + i < planes ? planes_in[static_cast<std::size_t>(low + i)] << unused : 0;
        columns = columns << 8 | (plane >> (8 * (groups - 1 - group)) & 0xFF);
      }
      const std::uint64_t rows = transpose_8x8(columns);
      for (int i = 0; i < 8; ++i) {
        deltas[static_cast<std::size_t>(i)] |= (rows >> (8 * (7 - i)) & 0xFF) << low;
      }
    }
    for (int i = 0; i < 8; ++i) {
      out[static_cast<std::size_t>(8 * group + i)] = deltas[static_cast<std::size_t>(i)];
    }
  }
}

}  // namespace ebpc
