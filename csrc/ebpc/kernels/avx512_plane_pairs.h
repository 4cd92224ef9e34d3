// The codes of narrow planes, those of blocks of less than 8 words: they are so short that a table
// of windows has two at once.

#pragma once

#include <array>
#include <memory>

#include "ebpc/kernels/avx512_plane_syntax.h"

namespace ebpc {
namespace {

/// One code: what it moves a position on by, and its first plane. The others are zero.
struct PlaneCode {
  Position step;
  std::uint32_t lane;
  int bits;
  bool is_run;
};

/// By the first bits of a window, one or two successive codes, as many as are complete in them. A
/// run is the last one: most often its block ends with it.
struct PlanePairs {
  /// Two of the most frequent codes of blocks of 4.
  static constexpr int window_bits = 14;

  std::array<Position, std::size_t{1} << window_bits> steps;       // what moves a position on
  std::array<std::uint32_t, std::size_t{1} << window_bits> lanes;  // the first plane's lowest
};

/// The codes of a block's planes, for blocks of up to 7 words. The lowest bit of a lane, which no
/// such block has a word for, marks a plane that is zero before the XOR.
template <class Group, bool base_sent_>
struct PlanePairSyntax {
  static constexpr bool base_sent = base_sent_;
  static constexpr bool eights = false;
  static constexpr bool pairs = true;
  static_assert(Group::lane_bits == 8);

  /// Pairs that are taken before a block's end is looked for.
  static constexpr int pairs_at_once = Group::word_bytes == 1 ? 2 : 3;

  explicit PlanePairSyntax(const Parameters& p)
      : base_bits(base_sent ? static_cast<std::uint64_t>(p.word_bits) : 0),
        planes(static_cast<std::uint64_t>(plane_count(p))),
        plane_size(plane_bits(p)),
        index_bits(log2_ceil(static_cast<std::uint32_t>(p.block_size))),
        run_bits(log2_ceil(static_cast<std::uint32_t>(p.word_bits))),
        base_shift(static_cast<int>(64 - base_bits)),
        block_step(position(base_bits, Group::block_bytes - planes, 1, 0 - planes)),
        pairs_by_bits(find_pairs(p)) {}

  /// The first code of a window.
  PlaneCode first_code(std::uint64_t window) const {
    if (window >> 63 == 1) return code(window << 1 >> (64 - plane_size), 1, 1 + plane_size);
    if (window >> 62 == 0b01) return code(0, 1, 2);
    if (window >> 61 == 0b001) return code(0, (window << 3 >> (64 - run_bits)) + 2, 3 + run_bits);
    const int kind = static_cast<int>(window >> 59);
    if (kind == 0b00000) return code(low_bits(plane_size), 1, 5);
    if (kind == 0b00001) {
      PlaneCode repeated = code(0, 1, 5);
      repeated.lane = 1;
      return repeated;
    }
    const int ones = kind == 0b00010 ? 2 : 1;
    const int index = static_cast<int>(window << 5 >> (64 - index_bits));
    const int behind = plane_size - index - ones;
    if (behind < 0) return code(0, too_many_planes, 5 + index_bits);
    return code(low_bits(ones) << behind, 1, 5 + index_bits);
  }

  std::uint64_t base_bits;
  std::uint64_t planes;  // of a block
  int plane_size;        // bits of a plane
  int index_bits;
  int run_bits;
  int base_shift;       // leaves a base
  Position block_step;  // from behind a block to the planes of the next one
  const PlanePairs* pairs_by_bits;

 private:
  // More than a block has. By all pairs of a step, the number of planes to come must not come
  // around to a negative one.
  static constexpr std::uint64_t too_many_planes = 40;
  static_assert(pairs_at_once * (1 + too_many_planes) < std::uint64_t{1} << (63 - left_bit));

  PlaneCode code(std::uint64_t plane, std::uint64_t count, int bits) const {
    return {position(static_cast<std::uint64_t>(bits), count, 0, count),
            static_cast<std::uint32_t>(plane << (Group::lane_bits - base_sent - plane_size)), bits,
            count > 1};
  }

  /// To make the table takes as long as to decode some segments, so each thread keeps the last one.
  const PlanePairs* find_pairs(const Parameters& p) const {
    thread_local std::unique_ptr<PlanePairs> pairs;
    thread_local int word_bits = 0;
    thread_local int block_size = 0;
    if (word_bits != p.word_bits || block_size != p.block_size) {
      if (pairs == nullptr) pairs = std::make_unique<PlanePairs>();
      make_pairs(*pairs);
      word_bits = p.word_bits;
      block_size = p.block_size;
    }
    return pairs.get();
  }

  void make_pairs(PlanePairs& pairs) const {
    constexpr int longest_code = 8;
    std::array<PlaneCode, std::size_t{1} << longest_code> codes;
    for (std::uint64_t i = 0; i < codes.size(); ++i)
      codes[i] = first_code(i << (64 - longest_code));
    for (std::uint64_t i = 0; i < pairs.steps.size(); ++i) {
      const std::uint64_t window = i << (64 - PlanePairs::window_bits);
      const PlaneCode& first = codes[window >> (64 - longest_code)];
      const PlaneCode& second = codes[window << first.bits >> (64 - longest_code)];
      const bool both = !first.is_run && first.bits + second.bits <= PlanePairs::window_bits;
      pairs.steps[i] = first.step + (both ? second.step : 0);
      pairs.lanes[i] = first.lane | (both ? second.lane << Group::lane_bits : 0);
    }
  }
};

/// Calls `visit` with null pointers to the DecodeGroup and the syntax for these settings.
template <class Visitor>
auto visit_plane_syntax(const Parameters& p, int bytes_per_word, Visitor&& visit) {
  return visit_group<DecodeGroup>(bytes_per_word, p.block_size, [&]<class Group>(Group* group) {
    if constexpr (Group::slots == 8) {
      if (p.block_size < 8) {
        if (p.base == Base::reused) {
          return visit(group, static_cast<PlanePairSyntax<Group, false>*>(nullptr));
        }
        return visit(group, static_cast<PlanePairSyntax<Group, true>*>(nullptr));
      }
    }
    if (p.base == Base::reused) {
      return visit(group, static_cast<PlaneSyntax<Group, false, false>*>(nullptr));
    }
    return visit(group, static_cast<PlaneSyntax<Group, true, Group::slots == 8>*>(nullptr));
  });
}

}  // namespace
}  // namespace ebpc
