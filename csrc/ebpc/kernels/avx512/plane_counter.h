// Counts the bits of the plane stream with AVX-512.

#pragma once

#include <array>

#include "ebpc/kernels/avx512/bits.h"
#include "ebpc/kernels/avx512/plane_splitter.h"
#include "ebpc/parameters.h"

namespace ebpc::avx512 {
namespace {

/// Counts what TileEncoder writes.
template <class Group>
class TileCounter {
 public:
  using Word = typename Group::Word;

  static constexpr std::size_t step_words = Group::blocks * Group::slots;
  static constexpr std::size_t batch_words = step_words;

  TileCounter(const Parameters& p, Word /*flip*/, std::uint8_t* /*out*/) : s_(p), splitter_(s_) {}

  /// Counts whole groups; words[-1] is the word before. Returns how many words were counted.
  std::size_t encode(const Word* words, std::size_t count) {
    const auto step = static_cast<std::size_t>(Group::blocks * s_.block_size);
    std::size_t done = 0;
    LaneCounts counts;
    for (; done + step <= count; done += step) add(words + done, Group::blocks, counts);
    take(counts, done / step * Group::blocks);
    return done;
  }

  /// Counts the last words, which zero words follow. Returns the bits of the stream.
  std::uint64_t finish(const Word* words, std::size_t count) {
    const int blocks = (static_cast<int>(count) + s_.block_size - 1) / s_.block_size;
    if (blocks > 0) {
      LaneCounts counts;
      add(words, blocks, counts);
      take(counts, static_cast<std::size_t>(blocks));
    }
    return bits_;
  }

 private:
  using L = Lanes<Group::lane_bits>;

  /// Symbols.
  struct LaneCounts {
    std::uint64_t zero_runs = 0;
    std::uint64_t single_zeros = 0;  // among these
    std::uint64_t fives = 0;         // all ones, or a plane of zeros
    std::uint64_t indexed = 0;       // a single one or two
    std::uint64_t nonzero = 0;       // all but the zero runs
  };

  /// A bit for each lane.
  struct PlaneMasks {
    std::uint64_t nonzero = 0;
    std::uint64_t five = 0;
    std::uint64_t indexed = 0;

    void add(const PlaneMasks& other, int lane) {
      nonzero |= other.nonzero << lane;
      five |= other.five << lane;
      indexed |= other.indexed << lane;
    }
  };

  [[gnu::always_inline]] PlaneMasks kinds_of(__m512i dbx, __m512i dbp, __m512i all_ones) const {
    const auto nonzero = L::is_nonzero(dbx);
    const auto not_all_ones = L::differ(nonzero, dbx, all_ones);
    const auto plane_zero = L::is_zero(not_all_ones, dbp);
    const auto other = static_cast<typename L::Mask>(not_all_ones & ~plane_zero);
    PlaneMasks kinds{bits_of(nonzero), bits_of(static_cast<typename L::Mask>(nonzero & ~other)), 0};
    if (5 + s_.index_bits != 1 + s_.plane_bits) {
      const __m512i rest = _mm512_and_si512(dbx, L::sub(dbx, L::set(1)));
      const __m512i lowest = _mm512_xor_si512(dbx, rest);
      kinds.indexed = bits_of(static_cast<typename L::Mask>(
          L::is_zero(other, rest) | L::equal(other, rest, L::add(lowest, lowest))));
    }
    return kinds;
  }

  [[gnu::always_inline]] void add(const Word* words, int blocks, LaneCounts& counts) const {
    const typename PlaneSplitter<Group>::SplitPlanes planes = splitter_.split(words);
    PlaneMasks kinds;
    for (int i = 0; i < Group::vectors; ++i) {
      kinds.add(kinds_of(planes.dbx[i], planes.dbp[i], L::set(low_bits(s_.plane_bits))),
                i * Group::vector_lanes & 63);
    }
    const std::uint64_t coded = s_.used & ~std::uint64_t{0} >> (64 - blocks * Group::planes);
    const std::uint64_t last = s_.last & coded;
    const std::uint64_t zero = coded & ~kinds.nonzero;
    const std::uint64_t starts = zero & (kinds.nonzero << 1 | s_.first);
    const std::uint64_t ends = zero & (kinds.nonzero >> 1 | last);
    std::uint64_t single = starts & ends;
    if (s_.has_top_plane) {
      if (splitter_.has_tops(planes)) [[unlikely]] {
        single &= ~add_tops(words, last, zero, counts);
      } else {
        // A zero plane lengthens a run below it, or else stands alone.
        single &= ~last;
        const auto alone = static_cast<std::uint64_t>(std::popcount(last & ~zero));
        counts.zero_runs += alone;
        counts.single_zeros += alone;
      }
    }
    counts.zero_runs += static_cast<std::uint64_t>(std::popcount(ends));
    counts.single_zeros += static_cast<std::uint64_t>(std::popcount(single));
    counts.fives += static_cast<std::uint64_t>(std::popcount(kinds.five & coded));
    counts.indexed += static_cast<std::uint64_t>(std::popcount(kinds.indexed & coded));
    counts.nonzero += static_cast<std::uint64_t>(std::popcount(kinds.nonzero & coded));
  }

  /// Counts the top planes of blocks whose last lanes are in `last`. Returns which of those are a
  /// zero plane that a zero top plane follows.
  std::uint64_t add_tops(const Word* words, std::uint64_t last, std::uint64_t zero,
                         LaneCounts& counts) const {
    const typename PlaneSplitter<Group>::Tops tops = splitter_.tops(words);
    // In the order of the slots, which makes no difference here.
    const std::uint64_t used_slots =
        ~std::uint64_t{0} << (Group::slots - s_.plane_bits) & low_bits(Group::slots);
    const PlaneMasks kinds = kinds_of(load(tops.dbx), load(tops.dbp), L::set(used_slots));
    const std::uint64_t blocks = low_bits(std::popcount(last));
    const std::uint64_t top_zero = blocks & ~kinds.nonzero;
    const std::uint64_t below_zero = _pext_u64(zero, last);
    const auto alone = static_cast<std::uint64_t>(std::popcount(top_zero & ~below_zero));
    counts.zero_runs += alone;
    counts.single_zeros += alone;
    counts.fives += static_cast<std::uint64_t>(std::popcount(kinds.five & blocks));
    counts.indexed += static_cast<std::uint64_t>(std::popcount(kinds.indexed & blocks));
    counts.nonzero += static_cast<std::uint64_t>(std::popcount(kinds.nonzero & blocks));
    return _pdep_u64(top_zero & below_zero, last);
  }

  static __m512i load(const std::array<typename Group::Lane, Group::blocks>& lanes) {
    alignas(64) std::array<typename Group::Lane, 64 / sizeof(typename Group::Lane)> all{};
    std::copy(lanes.begin(), lanes.end(), all.begin());
    return load_512(all.data());
  }

  void take(const LaneCounts& counts, std::size_t blocks) {
    const auto bits = [](int x) { return static_cast<std::uint64_t>(x); };
    const std::uint64_t others = counts.nonzero - counts.fives - counts.indexed;
    bits_ += blocks * bits(s_.base_bits) + others * bits(1 + s_.plane_bits) +
             counts.indexed * bits(5 + s_.index_bits) + counts.fives * 5 + counts.single_zeros * 2 +
             (counts.zero_runs - counts.single_zeros) * bits(3 + s_.run_bits);
  }

  PlaneSettings<Group> s_;
  PlaneSplitter<Group> splitter_;
  std::uint64_t bits_ = 0;
};

}  // namespace
}  // namespace ebpc::avx512
