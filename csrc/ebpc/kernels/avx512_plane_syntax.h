// What follows from the parameters for reading plane streams.

#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "ebpc/kernels/avx512_decode_group.h"

namespace ebpc {
namespace {

template <class Group>
struct PlaneSyntax {
  using Lane = typename Group::Lane;

  /// A code other than an uncompressed plane.
  struct Symbol {
    std::conditional_t<sizeof(Lane) == 8, std::uint64_t, std::uint32_t> plane = 0;
    std::uint8_t planes = 0;  // that it is, all but the first of them zero
    std::uint8_t bits = 0;
    bool repeats = false;  // the plane is zero before the XOR, so that it repeats the last one
  };

  explicit PlaneSyntax(const Parameters& p)
      : base_bits(p.base == Base::sent ? p.word_bits : 0),
        planes(plane_count(p)),
        plane_size(plane_bits(p)),
        raw_bits(1 + plane_size),
        first_slot(Group::slots == 64 && base_bits == 0 ? 0 : 1),
        next_block(Group::block_bytes - Group::lane_bytes * planes),
        index_bits_(log2_ceil(static_cast<std::uint32_t>(p.block_size))),
        run_bits_(log2_ceil(static_cast<std::uint32_t>(p.word_bits))),
        symbol_shift(64 - (5 + std::max(index_bits_, run_bits_))) {
    symbols.resize(std::size_t{1} << (64 - symbol_shift));
    for (std::size_t i = 0; i < symbols.size() / 2; ++i) symbols[i] = symbol_of(i << symbol_shift);
    for (int shift = 0; shift < 8; ++shift) {
      for (int i = 0; i < 64; ++i) {
        const int bit = shift + i / Group::lane_bytes * raw_bits;
        const int byte = bit / 8 + Group::lane_bytes - 1 - i % Group::lane_bytes;
        bytes[at(shift)][at(i)] = static_cast<std::uint8_t>(byte);
        const bool is_lowest = i % Group::lane_bytes == 0;
        shifts[at(shift)][at(i)] = static_cast<std::uint8_t>(is_lowest ? bit % 8 : 0);
      }
    }
  }

  std::int64_t base_bits;
  std::int64_t planes;      // of a block
  int plane_size;  // bits of a plane
  std::int64_t raw_bits;    // of an uncompressed one, its first bit included
  int first_slot;  // of a lane: the bits in front of a plane's
  std::int64_t next_block;  // bytes from behind a block's planes to the next one's

 private:
  int index_bits_;
  int run_bits_;

 public:
  int symbol_shift;             // leaves the bits of the longest symbol
  std::vector<Symbol> symbols;  // by these; empty where a plane follows
  Symbol no_symbol;
  /// Uncompressed planes one behind the other, from any bit of a byte on, to lanes: the bytes that
  /// these are made from, and then the bits by which each is shifted to the left.
  alignas(64) std::array<std::array<std::uint8_t, 64>, 8> bytes;
  alignas(64) std::array<std::array<std::uint8_t, 64>, 8> shifts;

 private:
  static constexpr std::size_t at(int i) { return static_cast<std::size_t>(i); }

  Symbol symbol_of(std::uint64_t window) const {
    const auto symbol = [&](std::uint64_t plane, int planes, int bits, bool repeats = false) {
      Symbol s;
      s.plane = static_cast<Lane>(plane << (Group::lane_bits - first_slot - plane_size));
      s.planes = static_cast<std::uint8_t>(planes);
      s.bits = static_cast<std::uint8_t>(bits);
      s.repeats = repeats;
      return s;
    };
    if (window >> 62 == 0b01) return symbol(0, 1, 2);
    if (window >> 61 == 0b001) {
      return symbol(0, static_cast<int>(window << 3 >> (64 - run_bits_)) + 2, 3 + run_bits_);
    }
    const int kind = static_cast<int>(window >> 59);
    if (kind == 0b00000) return symbol(low_bits(plane_size), 1, 5);
    if (kind == 0b00001) return symbol(0, 1, 5, true);
    const int ones = kind == 0b00010 ? 2 : 1;
    const int index = static_cast<int>(window << 5 >> (64 - index_bits_));
    const int behind = plane_size - index - ones;
    // More planes than any block has, if the index is outside of the plane.
    if (behind < 0) return symbol(0, 64, 5 + index_bits_);
    return symbol(low_bits(ones) << behind, 1, 5 + index_bits_);
  }
};

}  // namespace
}  // namespace ebpc
