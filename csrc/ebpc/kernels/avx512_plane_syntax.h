// What follows from the parameters for reading plane streams.

#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "ebpc/kernels/avx512_decode_group.h"

namespace ebpc {
namespace {

/// The codes of a block's planes. A code that is no uncompressed plane is a symbol here.
///
/// If `eights`, planes of one or two ones, whose codes have 8 bits as those of uncompressed planes
/// have, are taken for such: codes stand for the planes until all of a block is there.
template <class Group, bool base_sent_, bool eights_>
struct PlaneSyntax {
  static constexpr bool base_sent = base_sent_;
  static constexpr bool eights = eights_;
  static_assert(!eights || (base_sent && Group::slots == 8));

  using Lane = typename Group::Lane;

  struct alignas(8) Symbol {
    std::uint8_t planes = 0;  // that it is, all but the first of them zero
    std::uint8_t bits = 0;
    std::uint8_t repeats = 0;  // 1 if the plane is zero before the XOR, so that it repeats the last
    std::conditional_t<sizeof(Lane) == 8, std::uint64_t, std::uint32_t> lane = 0;  // the first
  };

  // What stands for two of the planes, if they are codes; a zero plane is 0 in any case.
  static constexpr std::uint8_t all_ones_code = 1;

  explicit PlaneSyntax(const Parameters& p)
      : base_bits(base_sent ? p.word_bits : 0),
        planes(plane_count(p)),
        plane_size(plane_bits(p)),
        index_bits(log2_ceil(static_cast<std::uint32_t>(p.block_size))),
        run_bits(log2_ceil(static_cast<std::uint32_t>(p.word_bits))),
        symbol_bits(5 + std::max(index_bits, run_bits)) {
    symbols.resize(std::size_t{1} << symbol_bits);
    for (std::size_t i = 0; i < symbols.size() / 2; ++i) {
      symbols[i] = symbol_of(i << (64 - symbol_bits));
    }
  }

  int base_bits;
  int planes;      // of a block
  int plane_size;  // bits of a plane
  int index_bits;
  int run_bits;
  int symbol_bits;              // of the longest symbol
  std::vector<Symbol> symbols;  // by their first symbol_bits bits; empty where a plane follows

 private:
  Symbol symbol_of(std::uint64_t window) const {
    const auto symbol = [&](std::uint64_t lane, int planes, int bits) {
      Symbol s;
      s.planes = static_cast<std::uint8_t>(planes);
      s.bits = static_cast<std::uint8_t>(bits);
      s.lane = static_cast<Lane>(lane);
      return s;
    };
    const auto plane = [&](std::uint64_t bits) {
      return bits << (Group::lane_bits - base_sent - plane_size);
    };
    if (window >> 62 == 0b01) return symbol(0, 1, 2);
    if (window >> 61 == 0b001) {
      return symbol(0, static_cast<int>(window << 3 >> (64 - run_bits)) + 2, 3 + run_bits);
    }
    const int kind = static_cast<int>(window >> 59);
    if (kind == 0b00000) {
      return symbol(eights ? all_ones_code : plane(low_bits(plane_size)), 1, 5);
    }
    if (kind == 0b00001) {
      Symbol repeated = symbol(0, 1, 5);
      repeated.repeats = 1;
      return repeated;
    }
    if (eights) return {};
    const int ones = kind == 0b00010 ? 2 : 1;
    const int index = static_cast<int>(window << 5 >> (64 - index_bits));
    const int behind = plane_size - index - ones;
    // More planes than any block has, if the index is outside of the plane.
    if (behind < 0) return symbol(0, 64, 5 + index_bits);
    return symbol(plane(low_bits(ones) << behind), 1, 5 + index_bits);
  }
};

/// X of the codes of planes, which may be uncompressed planes themselves: by their low 6 bits, for
/// codes of 8 bits and what stands for others. An index past the end of the plane gives a plane
/// whose unused bit is set.
inline constexpr auto planes_of_codes = [] {
  std::array<std::uint8_t, 64> planes{};
  planes[1] = 0x7F;
  for (std::size_t index = 0; index < 8; ++index) {
    planes[0x18 + index] = static_cast<std::uint8_t>(index < 7 ? 0x40 >> index : 0x80);
    planes[0x10 + index] = static_cast<std::uint8_t>(index < 6 ? 0x60 >> index : 0x80);
  }
  return planes;
}();

/// Calls `visit` with null pointers to the DecodeGroup and the PlaneSyntax for these settings.
template <class Visitor>
auto visit_plane_syntax(const Parameters& p, int bytes_per_word, Visitor&& visit) {
  return visit_decode_group(p, bytes_per_word, [&]<class Group>(Group* group) {
    if (p.base == Base::reused) {
      return visit(group, static_cast<PlaneSyntax<Group, false, false>*>(nullptr));
    }
    if constexpr (Group::slots == 8) {
      if (p.block_size == 8) {
        return visit(group, static_cast<PlaneSyntax<Group, true, true>*>(nullptr));
      }
    }
    return visit(group, static_cast<PlaneSyntax<Group, true, false>*>(nullptr));
  });
}

}  // namespace
}  // namespace ebpc
