// What follows from the parameters for reading plane streams, and where in a stream one is.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "ebpc/kernels/generic/vectors.h"
#include "ebpc/kernels/plane_codes.h"
#include "ebpc/parameters.h"

namespace ebpc::EBPC_KERNEL {
namespace {

/// Where the parser of a stream is: everything in one number, so that it moves on by one addition.
/// From the lowest bit on:
///   the next bit of the stream
///   where the next plane goes, in bytes
///   most_blocks less the blocks that are still to come, which ends with a carry into
///   1 if there are none
///   planes of the block that are still to come, as a signed number: negative where a step took
///   more than there were
/// The first two count from the beginning of the streams' memory.
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

constexpr std::uint64_t field(Position position, int first, int end) {
  return position >> first & low_bits(end - first);
}
constexpr std::uint64_t bit_of(Position position) { return field(position, 0, out_bit); }
constexpr std::uint64_t byte_of(Position position) { return field(position, 3, out_bit); }
constexpr std::uint64_t out_of(Position position) { return field(position, out_bit, block_bit); }
constexpr std::uint64_t block_of(Position position) { return field(position, block_bit, end_bit); }
constexpr std::uint64_t left_of(Position position) { return position >> left_bit; }
constexpr bool is_at_end(Position position) { return (position >> end_bit & 1) != 0; }
constexpr bool is_too_far(Position position) { return static_cast<std::int64_t>(position) < 0; }

/// The codes of a block's planes. A code that is no uncompressed plane is a symbol here.
///
/// If `eights`, planes of one or two ones, whose codes have 8 bits as those of uncompressed planes
/// have, are taken for such: codes stand for the planes until all of a block is there. A plane of
/// ones is an uncompressed one among them, and a zero plane is 0.
template <class GroupType, bool base_sent_, bool eights_>
struct PlaneSyntax {
  using Group = GroupType;
  using Lane = EBPC_KERNEL::Lane<Group::lane_bits>;
  static constexpr bool base_sent = base_sent_;
  static constexpr bool eights = eights_;
  static_assert(!eights || (base_sent && Group::slots == 8));

  struct Symbol {
    Position step = 0;
    std::conditional_t<sizeof(Lane) == 8, Lane, std::uint32_t> lane = 0;  // begins with the plane
    std::uint32_t repeats = 0;  // 1 if that is zero before the XOR, so that it repeats the last one
  };

  explicit PlaneSyntax(const Parameters& p)
      : base_bits(base_sent ? static_cast<std::uint64_t>(p.word_bits) : 0),
        planes(static_cast<std::uint64_t>(plane_count(p))),
        sizes(PlaneCodeSizes::of(p)),
        symbol_bits(short_prefix_bits +
                    (sizes.index_bits > sizes.run_bits ? sizes.index_bits : sizes.run_bits)),
        symbol_shift(64 - symbol_bits),
        base_shift(static_cast<int>(64 - base_bits)),
        raw_step(position(static_cast<std::uint64_t>(1 + sizes.plane_bits), lane_bytes, 0, -one)),
        block_step(position(base_bits, Group::block_bytes - lane_bytes * planes, 1, planes)) {
    // An uncompressed plane is no symbol.
    const std::size_t count = std::size_t{1} << symbol_bits;
    for (std::size_t i = 0; i < count / 2; ++i) symbols[i] = symbol_of(i << symbol_shift);
    for (std::size_t i = count / 2; i < count; ++i) symbols[i] = {};
  }

  std::uint64_t base_bits;
  std::uint64_t planes;  // of a block
  PlaneCodeSizes sizes;
  int symbol_bits;      // of the longest symbol
  int symbol_shift;     // leaves them
  int base_shift;       // leaves a base
  Position raw_step;    // for an uncompressed plane
  Position block_step;  // from after a block to the planes of the next one
  Symbol symbols[1 << (short_prefix_bits + (Group::slots == 64 ? 6 : 5))];  // by their first bits

 private:
  static constexpr std::uint64_t one = 1;
  static constexpr std::uint64_t lane_bytes = Group::lane_bytes;
  // More than a block has. A row of 32 planes in front of them may be too far already, and yet the
  // number of planes to come must not come around to positive ones.
  static constexpr std::uint64_t too_many_planes = 40;
  static_assert(32 + too_many_planes < one << (63 - left_bit));

  Symbol symbol_of(std::uint64_t window) const {
    const FirstCode code = first_code(window, sizes);
    if (eights && code.is_indexed) return {};
    const std::uint64_t taken = code.is_valid ? code.planes : too_many_planes;
    Symbol s;
    s.step = position(static_cast<std::uint64_t>(code.bits), lane_bytes * taken, 0, -taken);
    const Lane lane = eights && code.x != 0 ? static_cast<Lane>(code.x | 0x80)
                                            : Group::lane_of(code.x, sizes.plane_bits, base_sent);
    std::memcpy(&s.lane, &lane, sizeof lane);
    s.repeats = code.plane_is_zero;
    return s;
  }
};

/// Another code that stands for a plane of ones.
constexpr std::uint8_t all_ones_code = 1;

/// X of the codes of planes, which may be uncompressed planes themselves: by their low 6 bits, for
/// codes of 8 bits. An index past the end of the plane gives a plane whose unused bit is set.
struct PlanesOfCodes {
  std::uint8_t by_code[64];
};
constexpr PlanesOfCodes planes_of_codes = [] {
  PlanesOfCodes planes{};
  planes.by_code[all_ones_code] = 0x7F;
  for (unsigned code = 0x10; code < 0x20; ++code) {
    const FirstCode first = first_code_of(code, 8, common_code_sizes);
    planes.by_code[code] = static_cast<std::uint8_t>(first.is_valid ? first.x : 0x80);
  }
  return planes;
}();

inline std::uint8_t plane_of_code(std::uint8_t code) {
  return code >= 0x80 ? code : planes_of_codes.by_code[code & 0x3F];
}

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
