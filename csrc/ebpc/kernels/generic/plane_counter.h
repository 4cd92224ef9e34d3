// Counts the bits of the plane stream: plane_writer.h without the writing.

#pragma once

#include "ebpc/kernels/generic/planes.h"

namespace ebpc::EBPC_KERNEL {
namespace {

template <class GroupType>
class PlaneCounter {
 public:
  using Group = GroupType;
  using Word = typename Group::Word;
  static constexpr std::size_t blocks = Group::blocks;  // of one step
  static constexpr int slots = Group::slots;

  explicit PlaneCounter(const Parameters& p, const PlaneCodes& prefixes = ebpc_codes)
      : planes_(p),
        single_zero_bits_(prefixes.single_zero.bits),
        zero_run_bits_(static_cast<std::uint64_t>(prefixes.zero_run.bits + planes_.run_bits)) {
    for (int q = 0; q < Group::qwords; ++q) used_[q] = Group::first_planes(planes_.planes, q);
  }

  /// Counts blocks of packed words; words[-1] is the word before them. Blocks that fill up the last
  /// step have words that are all equal to the one before.
  void put(const Word* words, std::size_t block_count) {
    std::size_t b = 0;
    while (b < block_count) {
      Counts counts{};
      const std::size_t end = min(block_count, b + max_blocks);
      for (; b < end; b += blocks)
        count_step(words + b * static_cast<std::size_t>(planes_.block_size), counts);
      bits_ += weigh(counts);
    }
    bits_ += block_count * static_cast<std::uint64_t>(planes_.base_bits);
    // Blocks that fill up are a run of zero planes each.
    bits_ -= (b - block_count) * zero_run_bits_;
  }

  std::uint64_t bits() const { return bits_; }

 private:
  using L = typename Group::L;
  using Lanes = typename Group::Lanes;

  /// Planes counted in each lane by what they are.
  struct Counts {
    Lanes nonzero;
    Lanes five_bits;
    Lanes indexed;
    Lanes run_starts;   // of zero planes
    Lanes run_seconds;  // where such runs have a second plane
  };
  /// More might be too many for a lane.
  static constexpr std::size_t max_blocks =
      (Group::lane_bits == 8 ? 255 / (Group::qwords + 1) : 1024) * blocks;

  void count_step(const Word* words, Counts& counts) {
    const auto found = planes_.find(words);
    Qwords zero[Group::qwords];
    Qwords starts[Group::qwords];
    for (int q = 0; q < Group::qwords; ++q) {
      const auto kinds =
          planes_.classify(found.planes[q], found.planes[q] ^ Group::lane_before(found.planes, q));
      const Lanes five_bits = (kinds.all_ones | kinds.plane_zero) & ~kinds.zero;
      zero[q] = vector_cast<std::uint64_t>(kinds.zero) & used_[q];
      starts[q] = zero[q] & ~Group::lane_before(zero, q);
      const Qwords seconds = zero[q] & Group::lane_before(starts, q);
      // Lanes of ones are -1.
      counts.nonzero -= ~kinds.zero;
      counts.five_bits -= five_bits;
      counts.indexed -= kinds.indexed & ~(kinds.zero | five_bits);
      counts.run_starts -= vector_cast<L>(starts[q]);
      counts.run_seconds -= vector_cast<L>(seconds);
    }
    if (!planes_.has_top_plane) return;
    Qwords top_zero = Qwords{} + Group::last_lane;
    if (found.any_top) [[unlikely]]
      count_tops(words, found.planes[Group::qwords - 1], top_zero);
    counts.run_starts -= vector_cast<L>(~zero[Group::qwords - 1] & top_zero);
    counts.run_seconds -= vector_cast<L>(starts[Group::qwords - 1] & top_zero);
  }

  /// Counts top planes that differ from the one below, and takes them out of `top_zero`.
  void count_tops(const Word* words, Qwords below, Qwords& top_zero) {
    for (std::size_t b = 0; b < blocks; ++b, words += planes_.block_size) {
      const std::uint64_t dbx = planes_.top_dbx(words);
      if (dbx == 0) continue;
      top_zero[b] = 0;
      bits_ += static_cast<std::uint64_t>(planes_.top_code(dbx, below[b]).bits);
    }
  }

  std::uint64_t weigh(const Counts& counts) const {
    const auto sum = [](Lanes x) {
      std::uint64_t sum = 0;
      for (std::size_t i = 0; i < vector_bytes / sizeof(L); ++i) sum += x[i];
      return sum;
    };
    const auto weight = [](int bits) { return static_cast<std::uint64_t>(bits); };
    const std::uint64_t five_bits = sum(counts.five_bits);
    const std::uint64_t indexed = sum(counts.indexed);
    const std::uint64_t raw = sum(counts.nonzero) - five_bits - indexed;
    const std::uint64_t runs = sum(counts.run_seconds);
    const std::uint64_t single_zeros = sum(counts.run_starts) - runs;
    return raw * weight(1 + planes_.plane_bits) + indexed * weight(5 + planes_.index_bits) +
           five_bits * 5 + single_zeros * single_zero_bits_ + runs * zero_run_bits_;
  }

  PlaneFinder<Group> planes_;
  std::uint64_t single_zero_bits_;
  std::uint64_t zero_run_bits_;
  std::uint64_t used_[Group::qwords];  // lanes that have a plane
  std::uint64_t bits_ = 0;
};

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
