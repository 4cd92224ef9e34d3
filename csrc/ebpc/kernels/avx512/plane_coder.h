// Bit planes to their codes with AVX-512.

#pragma once

#include <array>

#include "ebpc/kernels/avx512/bits.h"
#include "ebpc/kernels/avx512/plane_splitter.h"
#include "ebpc/kernels/plane_codes.h"

namespace ebpc::avx512 {
namespace {

/// Codes of up to 8 bits by a number below `size`: right-justified, left-justified, their lengths.
/// Where nothing is coded, all are 0.
template <std::size_t size>
struct ShortCodes {
  alignas(64) std::array<std::uint8_t, size> right{};
  alignas(64) std::array<std::uint8_t, size> left{};
  alignas(64) std::array<std::uint8_t, size> bits{};

  constexpr void set(unsigned index, const CodeBits& code) {
    right[index] = static_cast<std::uint8_t>(code.code);
    left[index] = static_cast<std::uint8_t>(code.code << (8 - code.bits));
    bits[index] = static_cast<std::uint8_t>(code.bits);
  }
};

/// The codes of runs of zero planes by their length, 1 to 33, for each log2 of W.
constexpr auto zero_plane_codes = [] {
  std::array<ShortCodes<64>, 6> tables{};
  for (unsigned run_bits = 1; run_bits < tables.size(); ++run_bits) {
    for (unsigned planes = 1; planes <= 1 + (1U << run_bits); ++planes)
      tables[run_bits].set(planes, code_of_zeros(planes, {0, 0, static_cast<int>(run_bits)}));
  }
  return tables;
}();

/// The codes of planes of up to 7 bits by their XORed plane, unless the plane itself is zero; for
/// each number of bits, and of bits of an index.
constexpr auto narrow_plane_codes = [] {
  std::array<std::array<ShortCodes<128>, 4>, 8> tables{};
  for (int plane_bits = 1; plane_bits <= 7; ++plane_bits) {
    for (int index_bits = 1; index_bits <= 3; ++index_bits) {
      ShortCodes<128>& table =
          tables[static_cast<std::size_t>(plane_bits)][static_cast<std::size_t>(index_bits)];
      if (plane_bits > 1 << index_bits) continue;
      for (unsigned x = 1; x < 1U << plane_bits; ++x)
        table.set(x, code_of_plane(x, false, {plane_bits, index_bits, 0}));
    }
  }
  return tables;
}();

/// Gives planes their codes.
template <class Group>
class PlaneCoder {
 public:
  using SplitPlanes = typename PlaneSplitter<Group>::SplitPlanes;

  explicit PlaneCoder(const PlaneSettings<Group>& s)
      : last_(s.last),
        used_(s.used),
        is_7_bits_(s.plane_bits == 7),
        zero_codes_(zero_plane_codes[at(s.run_bits)]),
        narrow_codes_(narrow_plane_codes[at(s.plane_bits % 8)][at(s.index_bits % 4)]),
        all_ones_(lanes(low_bits(s.plane_bits))),
        uncompressed_(lanes(std::uint64_t{1} << s.plane_bits)),
        uncompressed_bits_(lanes(static_cast<std::uint64_t>(1 + s.plane_bits))),
        single_(lanes((std::uint64_t{3} << s.index_bits) +
                      static_cast<std::uint64_t>(s.plane_bits - 1))),
        pair_(lanes((std::uint64_t{2} << s.index_bits) +
                    static_cast<std::uint64_t>(s.plane_bits - 2))),
        indexed_bits_(lanes(static_cast<std::uint64_t>(5 + s.index_bits))) {}

  /// The codes of a group, those of each 64 bits of lanes joined. Runs of zero planes up to the
  /// last lanes in `to_top` go on for one more plane.
  [[gnu::always_inline]] std::array<Codes, Group::vectors> codes(const SplitPlanes& planes,
                                                                 std::uint64_t nonzero,
                                                                 std::uint64_t to_top) const {
    const __m512i runs = zero_runs(nonzero, to_top);
    std::array<Codes, Group::vectors> codes;
    if constexpr (Group::lane_bits == 8) {
      codes[0] = narrow_codes(planes.dbx[0], planes.dbp[0], nonzero, runs);
    } else {
      alignas(64) std::array<std::uint8_t, 64> run_codes;
      alignas(64) std::array<std::uint8_t, 64> run_bits;
      store_512(run_codes.data(),
                _mm512_permutexvar_epi8(runs, load_512(zero_codes_.right.data())));
      store_512(run_bits.data(), _mm512_permutexvar_epi8(runs, load_512(zero_codes_.bits.data())));
      for (int i = 0; i < Group::vectors; ++i) {
        codes[at(i)] =
            wide_codes(planes.dbx[i], planes.dbp[i],
                       static_cast<typename L::Mask>(nonzero >> (i * Group::vector_lanes & 63)),
                       L::widen(run_codes.data() + i * Group::vector_lanes),
                       L::widen(run_bits.data() + i * Group::vector_lanes));
      }
    }
    return codes;
  }

 private:
  using L = Lanes<Group::lane_bits>;

  static constexpr int odd_lane = 64;

  /// For each lane that ends a run of zero planes the run's length, and odd_lane more in odd ones;
  /// zero elsewhere.
  [[gnu::always_inline]] __m512i zero_runs(std::uint64_t nonzero, std::uint64_t to_top) const {
    const std::uint64_t ends = ~nonzero & (nonzero >> 1 | last_) & used_;
    // By prefix maximum, the number of the last non-zero plane up to each lane, from 1 on.
    __m512i number = _mm512_maskz_mov_epi8(nonzero, load_512(plane_numbers.data()));
    if constexpr (Group::planes == 8) {
      number = _mm512_max_epu8(number, _mm512_slli_epi64(number, 8));
      number = _mm512_max_epu8(number, _mm512_slli_epi64(number, 16));
      number = _mm512_max_epu8(number, _mm512_slli_epi64(number, 32));
    } else {
      number = _mm512_max_epu8(number, _mm512_bslli_epi128(number, 1));
      number = _mm512_max_epu8(number, _mm512_bslli_epi128(number, 2));
      number = _mm512_max_epu8(number, _mm512_bslli_epi128(number, 4));
      number = _mm512_max_epu8(number, _mm512_bslli_epi128(number, 8));
      if constexpr (Group::planes == 32) {
        // The last of the lower 16 lanes for all of the upper ones.
        const __m512i lower =
            _mm512_shuffle_epi8(_mm512_permutex_epi64(number, 0b01010101), _mm512_set1_epi8(7));
        number = _mm512_max_epu8(number, _mm512_maskz_mov_epi8(0xFFFF0000FFFF0000, lower));
      }
    }
    const __m512i places = load_512(run_ends.data());
    const __m512i end = _mm512_mask_add_epi8(places, to_top, places, one_8_);
    return _mm512_maskz_sub_epi8(ends, end, number);
  }

  [[gnu::always_inline]] Codes narrow_codes(__m512i dbx, __m512i dbp, __mmask64 nonzero,
                                            __m512i runs) const {
    constexpr std::uint64_t odd = 0xAAAAAAAAAAAAAAAA;
    const __mmask64 not_all_ones = L::differ(nonzero, dbx, all_ones_);
    const __mmask64 plane_zero = L::is_zero(not_all_ones, dbp);
    __m512i codes = look_up(narrow_codes_.right, dbx);
    if (!is_7_bits_) {
      codes = _mm512_mask_blend_epi8(odd, codes, look_up(narrow_codes_.left, dbx));
    }
    __m512i bits = look_up(narrow_codes_.bits, dbx);
    // 00001, in odd lanes left-justified
    codes = _mm512_mask_mov_epi8(codes, plane_zero, plane_zero_);
    bits = _mm512_mask_mov_epi8(bits, plane_zero, five_);
    codes =
        _mm512_or_si512(codes, _mm512_permutex2var_epi8(load_512(zero_codes_.right.data()), runs,
                                                        load_512(zero_codes_.left.data())));
    bits = _mm512_or_si512(bits, _mm512_permutexvar_epi8(runs, load_512(zero_codes_.bits.data())));
    return join_codes<8>(codes, bits);
  }

  [[gnu::always_inline]] Codes wide_codes(__m512i dbx, __m512i dbp, typename L::Mask nonzero,
                                          __m512i run_codes, __m512i run_bits) const {
    const auto not_all_ones = L::differ(nonzero, dbx, all_ones_);
    const auto plane_zero = L::is_zero(not_all_ones, dbp);
    const auto other = static_cast<typename L::Mask>(not_all_ones & ~plane_zero);
    const __m512i minus_one = L::sub(dbx, one_);
    const __m512i below_one = _mm512_andnot_si512(dbx, minus_one);  // ones below the lowest one
    const __m512i rest = _mm512_and_si512(dbx, minus_one);          // without the lowest one
    const __m512i lowest = _mm512_xor_si512(dbx, rest);
    const auto single = L::is_zero(other, rest);
    const auto pair = L::equal(other, rest, L::add(lowest, lowest));
    const __m512i after = L::popcount(below_one);
    __m512i codes = L::keep(other, _mm512_or_si512(dbx, uncompressed_));
    codes = L::blend(single, codes, L::sub(single_, after));
    codes = L::blend(pair, codes, L::sub(pair_, after));
    codes = L::blend(plane_zero, codes, one_);
    __m512i bits = L::keep(nonzero, five_);
    bits = L::blend(other, bits, uncompressed_bits_);
    bits = L::blend(static_cast<typename L::Mask>(single | pair), bits, indexed_bits_);
    codes = _mm512_or_si512(codes, run_codes);
    bits = _mm512_or_si512(bits, run_bits);
    // join_codes wants odd lanes, or all of 64 bits, left-justified.
    const auto left = static_cast<typename L::Mask>(Group::lane_bits == 64 ? ~std::uint64_t{0}
                                                                           : 0xAAAAAAAAAAAAAAAA);
    codes = L::shift_left(left, codes, L::sub(lane_bits_, bits));
    return join_codes<Group::lane_bits>(codes, bits);
  }

  static __m512i look_up(const std::array<std::uint8_t, 128>& table, __m512i indices) {
    return _mm512_permutex2var_epi8(load_512(table.data()), indices, load_512(table.data() + 64));
  }

  static constexpr auto plane_numbers = [] {
    std::array<std::uint8_t, 64> numbers{};
    for (int i = 0; i < 64; ++i) {
      numbers[at(i)] = static_cast<std::uint8_t>(i % Group::planes + 1);
    }
    return numbers;
  }();
  static constexpr auto run_ends = [] {
    std::array<std::uint8_t, 64> ends = plane_numbers;
    for (std::size_t i = 1; i < 64; i += 2) ends[i] = static_cast<std::uint8_t>(ends[i] + odd_lane);
    return ends;
  }();

  static __m512i lanes(std::uint64_t x) { return kept(L::set(x)); }

  std::uint64_t last_;
  std::uint64_t used_;
  bool is_7_bits_;
  const ShortCodes<64>& zero_codes_;
  const ShortCodes<128>& narrow_codes_;
  __m512i all_ones_;
  __m512i uncompressed_;
  __m512i uncompressed_bits_;
  __m512i single_;
  __m512i pair_;
  __m512i indexed_bits_;
  __m512i one_ = lanes(1);
  __m512i five_ = lanes(5);
  __m512i lane_bits_ = lanes(Group::lane_bits);
  __m512i one_8_ = kept(_mm512_set1_epi8(1));
  __m512i plane_zero_ = kept(_mm512_set1_epi16(0x0801));
};

// ---- Counting instead.

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
