// What stands after the codes of a block's lanes: its top plane, which has no lane, and the base
// of the next block.

#pragma once

#include <algorithm>
#include <array>

#include "ebpc/kernels/avx512/bits.h"
#include "ebpc/kernels/avx512/plane_coder.h"
#include "ebpc/parameters.h"

namespace ebpc::avx512 {
namespace {

/// Tails are codes in the 64-bit lanes in which blocks end.
template <class Group>
class PlaneTails {
 public:
  using Word = typename Group::Word;

  /// Each word is XORed with `flip`.
  PlaneTails(const PlaneSettings<Group>& s, Word flip) : s_(s), flip_(flip) {
    for (int block = 0; block < Group::vector_blocks; ++block) {
      for (int byte = 0; byte < Group::word_bytes; ++byte) {
        base_places_[at((block + 1) * block_bytes - Group::word_bytes + byte)] =
            static_cast<std::uint8_t>(block * s.block_size * Group::word_bytes + byte);
      }
    }
    const int unused = 64 - Group::planes;
    base_flip_ = _mm512_maskz_set1_epi64(
        ends, static_cast<long long>(static_cast<std::uint64_t>(flip) << unused));
    base_bits_ = _mm512_maskz_set1_epi64(ends, s.base_bits);
    const int flat_bits = 3 + s.run_bits;
    const std::uint64_t flat_code =
        std::uint64_t{1} << s.run_bits | static_cast<std::uint64_t>(s.word_bits - 1);
    flat_ = {_mm512_maskz_set1_epi64(ends, static_cast<long long>(flat_code << (64 - flat_bits))),
             _mm512_maskz_set1_epi64(ends, flat_bits)};
  }

  /// Whether blocks end in vector i of a group.
  static constexpr bool in(int i) { return (i + 1) % Group::block_vectors == 0; }

  bool has_bases() const { return s_.base_bits > 0; }

  std::uint64_t base_of(Word word) const {
    return static_cast<Word>(word ^ flip_) & low_bits(s_.base_bits);
  }

  /// The bases after the blocks that end in vector i.
  [[gnu::always_inline]] Codes bases(const Word* words, int i) const {
    const __m512i next = load_512(words + (first_block(i) + 1) * s_.block_size);
    __m512i base = _mm512_xor_si512(
        _mm512_maskz_permutexvar_epi8(base_bytes, load_512(base_places_.data()), next), base_flip_);
    if (s_.word_bits < Group::planes) {
      base = _mm512_sll_epi64(base, _mm_cvtsi32_si128(Group::planes - s_.word_bits));
    }
    return {base, base_bits_};
  }

  /// Instead of the codes of their lanes, those of blocks that end in vector i and have nothing but
  /// zero planes: one run.
  const Codes& flat(int i) const { return in(i) ? flat_ : none_; }

  /// The codes of the top planes of a group, block by block. The blocks in `alone` have something
  /// in their last lanes, so that a zero plane after them is no part of a run.
  Codes tops(const typename PlaneSplitter<Group>::Tops& planes, __mmask8 alone) const {
    const auto set = [](int x) { return _mm512_set1_epi64(x); };
    // First delta lowest.
    const __m512i dbx =
        _mm512_srl_epi64(widened(planes.dbx), _mm_cvtsi32_si128(Group::slots - s_.plane_bits));
    const __m512i all_ones = _mm512_set1_epi64(static_cast<long long>(low_bits(s_.plane_bits)));
    const __mmask8 nonzero = _mm512_test_epi64_mask(dbx, dbx);
    const __mmask8 not_all_ones = _mm512_mask_cmpneq_epi64_mask(nonzero, dbx, all_ones);
    const __mmask8 plane_zero = Lanes<64>::is_zero(not_all_ones, widened(planes.dbp));
    const auto other = static_cast<__mmask8>(not_all_ones & ~plane_zero);
    const __m512i minus_one = _mm512_sub_epi64(dbx, set(1));
    const __m512i rest = _mm512_and_si512(dbx, minus_one);  // without the lowest one
    const __m512i lowest = _mm512_xor_si512(dbx, rest);
    const __mmask8 single = Lanes<64>::is_zero(other, rest);
    const __mmask8 pair =
        _mm512_mask_cmpeq_epi64_mask(other, rest, _mm512_add_epi64(lowest, lowest));
    const __m512i index = _mm512_popcnt_epi64(_mm512_andnot_si512(dbx, minus_one));
    const __m512i plane = _mm512_srl_epi64(reversed(dbx), _mm_cvtsi32_si128(64 - s_.plane_bits));

    __m512i codes = _mm512_maskz_add_epi64(other, plane, _mm512_add_epi64(all_ones, set(1)));
    codes = _mm512_mask_add_epi64(codes, single, index, set(3 << s_.index_bits));
    codes = _mm512_mask_add_epi64(codes, pair, index, set(2 << s_.index_bits));
    codes = _mm512_mask_mov_epi64(codes, static_cast<__mmask8>(plane_zero | (alone & ~nonzero)),
                                  set(1));
    __m512i bits = _mm512_maskz_mov_epi64(nonzero, set(5));
    bits = _mm512_mask_mov_epi64(bits, other, set(1 + s_.plane_bits));
    bits =
        _mm512_mask_mov_epi64(bits, static_cast<__mmask8>(single | pair), set(5 + s_.index_bits));
    bits = _mm512_mask_mov_epi64(bits, static_cast<__mmask8>(alone & ~nonzero), set(2));
    return {_mm512_sllv_epi64(codes, _mm512_sub_epi64(set(64), bits)), bits};
  }

  /// Those of blocks that end in vector i.
  static Codes tops_of(const Codes& tops, int i) {
    const __m512i block =
        _mm512_add_epi64(load_512(block_of_lane.data()), _mm512_set1_epi64(first_block(i)));
    return {_mm512_maskz_permutexvar_epi64(ends, block, tops.codes),
            _mm512_maskz_permutexvar_epi64(ends, block, tops.bits)};
  }

 private:
  static constexpr int block_bytes = 64 / Group::vector_blocks;  // of a block in a vector

  /// 64-bit lanes in which blocks end, and the bytes of a word at their top.
  static constexpr __mmask8 ends = [] {
    unsigned lanes = 0;
    for (int end = block_bytes / 8; end <= 8; end += block_bytes / 8) lanes |= 1U << (end - 1);
    return static_cast<__mmask8>(lanes);
  }();
  static constexpr std::uint64_t base_bytes = [] {
    std::uint64_t bytes = 0;
    for (int end = block_bytes; end <= 64; end += block_bytes) {
      for (int byte = end - Group::word_bytes; byte < end; ++byte)
        bytes |= std::uint64_t{1} << byte;
    }
    return bytes;
  }();
  static constexpr auto block_of_lane = [] {
    std::array<std::uint64_t, 8> blocks{};
    for (std::size_t i = 0; i < 8; ++i) blocks[i] = 8 * i / block_bytes;
    return blocks;
  }();

  static constexpr int first_block(int i) {
    return i / Group::block_vectors * Group::vector_blocks;
  }

  static __m512i widened(const std::array<typename Group::Lane, Group::blocks>& lanes) {
    alignas(64) std::array<std::uint64_t, 8> wide{};
    std::copy(lanes.begin(), lanes.end(), wide.begin());
    return load_512(wide.data());
  }

  /// The bits of each lane in reverse order.
  static __m512i reversed(__m512i x) {
    return swap_bytes(_mm512_gf2p8affine_epi64_epi8(
        x, _mm512_set1_epi64(static_cast<long long>(0x8040201008040201)), 0));
  }

  PlaneSettings<Group> s_;
  Word flip_;
  std::array<std::uint8_t, 64> base_places_{};
  __m512i base_flip_;
  __m512i base_bits_;
  Codes flat_;
  Codes none_{_mm512_setzero_si512(), _mm512_setzero_si512()};
};

// ---- Writes the plane stream with AVX-512.

/// Codes groups of blocks in two steps, so that many groups are in the works at the same time:
/// their codes are made and kept in the L1 cache, then appended to the stream.
///
/// The codes of a block are those of each 64 bits of its lanes; after them comes what has no lane,
/// its top plane and the base of the next block. Most of the time the top plane is zero and
/// lengthens a run, and the base fits after the codes of the last lanes. For other groups these
/// tails become codes of their own.
template <class Group>
class TileEncoder {
 public:
  using Word = typename Group::Word;

  /// Words of a group, and of as many as are coded at a time, at most.
  static constexpr std::size_t step_words = Group::blocks * Group::slots;
  static constexpr std::size_t batch_groups = 16 / Group::vectors;
  static constexpr std::size_t batch_words = batch_groups * step_words;

  TileEncoder(const Parameters& p, Word flip, std::uint8_t* out)
      : s_(p), splitter_(s_), coder_(s_), tails_(s_, flip), reach_(reach_of(s_)), appender_(out) {}

  /// Codes whole batches of `words` while at least one word stays after them, each word XORed with
  /// `flip` and words[-1] being the one before. Returns how many words were coded.
  std::size_t encode(const Word* words, std::size_t count) {
    const std::size_t batch = batch_groups * group_words();
    std::size_t done = 0;
    for (; done + batch < count; done += batch) {
      begin(words[0]);
      code_groups(words + done, batch_groups);
    }
    return done;
  }

  /// Codes the last words, which zero words follow. Returns the bits of the stream.
  std::uint64_t finish(const Word* words, std::size_t count) {
    if (count == 0) return appender_.finish();
    begin(words[0]);
    const std::size_t groups = (count - 1) / group_words();
    code_groups(words, groups);
    words += groups * group_words();
    count -= groups * group_words();
    const int blocks = (static_cast<int>(count) + s_.block_size - 1) / s_.block_size;
    std::array<Codes, max_vectors> codes;
    const Codes* end = code_with_tails_apart(words, blocks, blocks - 1, codes.data());
    for (const Codes* x = codes.data(); x < end; ++x) appender_.append<any_reach>(*x);
    return appender_.finish();
  }

 private:
  using L = Lanes<Group::lane_bits>;
  using SplitPlanes = typename PlaneSplitter<Group>::SplitPlanes;

  static constexpr std::size_t max_vectors = 3 * Group::vectors;  // of one group

  std::size_t group_words() const {
    return static_cast<std::size_t>(Group::blocks * s_.block_size);
  }

  void begin(Word base) {
    if (!is_first_) return;
    is_first_ = false;
    appender_.begin(tails_.base_of(base), s_.base_bits);
  }

  void code_groups(const Word* words, std::size_t groups) {
    std::array<Codes, batch_groups * max_vectors> codes;
    Codes* end = codes.data();
    for (std::size_t i = 0; i < groups; ++i) end = code(words + i * group_words(), end);
    const bool has_tails_apart = end != codes.data() + groups * Group::vectors;
    append(codes.data(), end, reach_ * (has_tails_apart ? 2 : 1));
  }

  void append(const Codes* codes, const Codes* end, int reach) {
    constexpr int shortest = Group::block_qwords;
    switch (reach) {
      case shortest:
        return append<shortest>(codes, end);
      case 2 * shortest:
        return append<2 * shortest>(codes, end);
      case 4 * shortest:
        return append<4 * shortest>(codes, end);
      default:
        return append<any_reach>(codes, end);
    }
  }

  template <int reach>
  void append(const Codes* codes, const Codes* end) {
    CodeAppender appender = appender_;
    for (; codes < end; ++codes) appender.append<reach>(*codes);
    appender_ = appender;
  }

  /// How many codes in a row, unless tails are apart, have 7 bits for sure.
  static int reach_of(const PlaneSettings<Group>& s) {
    // Among as many as a block has is a base. Otherwise, among twice as many is a whole block. It
    // has 7 bits if it is not a single run of zero planes; and besides it there is the last lane of
    // another one, where a run ends at the latest.
    if (s.base_bits >= 7) return Group::block_qwords;
    const int fewest = s.base_bits + 3 + s.run_bits + (s.has_top_plane ? 2 : 0);
    return (fewest >= 7 ? 2 : 4) * Group::block_qwords;
  }

  /// The codes of a group. Returns their end.
  [[gnu::always_inline]] Codes* code(const Word* words, Codes* out) const {
    const SplitPlanes planes = splitter_.split(words);
    if (splitter_.has_any_of_last(planes)) [[unlikely]] {
      return code_with_tails_apart(words, Group::blocks, Group::blocks, out);
    }
    const std::uint64_t nonzero = splitter_.nonzero(planes);
    std::array<Codes, Group::vectors> codes;
    if (nonzero == 0) [[unlikely]] {
      for (int i = 0; i < Group::vectors; ++i) codes[at(i)] = tails_.flat(i);
    } else {
      codes = coder_.codes(planes, nonzero, s_.to_top);
    }
    if (tails_.has_bases()) {
      for (int i = 0; i < Group::vectors; ++i) {
        if (tails_.in(i)) codes[at(i)] = joined(codes[at(i)], tails_.bases(words, i));
      }
    }
    for (int i = 0; i < Group::vectors; ++i) out[i] = codes[at(i)];
    return out + Group::vectors;
  }

  /// The codes of the first `blocks` blocks, with tails as codes of their own. There are bases
  /// after `bases` of them.
  [[gnu::noinline]] Codes* code_with_tails_apart(const Word* words, int blocks, int bases,
                                                 Codes* out) const {
    const SplitPlanes planes = splitter_.split(words);
    Codes tops{_mm512_setzero_si512(), _mm512_setzero_si512()};
    std::uint64_t to_top = s_.to_top;
    const std::uint64_t nonzero = splitter_.nonzero(planes);
    if (splitter_.has_tops(planes) || (nonzero & s_.to_top) != 0) {
      const typename PlaneSplitter<Group>::Tops top_planes = splitter_.tops(words);
      tops = tails_.tops(top_planes, static_cast<__mmask8>(_pext_u64(nonzero, s_.last)));
      std::uint64_t zero = 0;
      for (int block = 0; block < Group::blocks; ++block)
        zero |= std::uint64_t{top_planes.dbx[at(block)] == 0} << block;
      to_top = _pdep_u64(zero, s_.last);
    }
    const std::array<Codes, Group::vectors> codes = coder_.codes(planes, nonzero, to_top);
    for (int i = 0; i < Group::vectors; ++i) {
      const Codes x = first_lanes(codes[at(i)], blocks * Group::block_qwords - 8 * i);
      if (!tails_.in(i)) {
        *out++ = x;
        continue;
      }
      const Codes top = first_lanes(tails_.tops_of(tops, i), blocks * Group::block_qwords - 8 * i);
      Codes base{_mm512_setzero_si512(), _mm512_setzero_si512()};
      if (tails_.has_bases())
        base = first_lanes(tails_.bases(words, i), bases * Group::block_qwords - 8 * i);
      if constexpr (Group::vector_blocks == 1) {
        *out++ = x;
        *out++ = top;
        *out++ = base;
      } else {
        const Codes tail = joined(top, base);
        *out++ = {interleave_low(x.codes, tail.codes), interleave_low(x.bits, tail.bits)};
        *out++ = {interleave_high(x.codes, tail.codes), interleave_high(x.bits, tail.bits)};
      }
    }
    return out;
  }

  static Codes first_lanes(const Codes& x, int count) {
    const auto lanes = static_cast<__mmask8>(low_bits(std::max(count, 0)));
    return {_mm512_maskz_mov_epi64(lanes, x.codes), _mm512_maskz_mov_epi64(lanes, x.bits)};
  }

  static __m512i interleave_low(__m512i a, __m512i b) {
    return _mm512_permutex2var_epi64(a, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), b);
  }
  static __m512i interleave_high(__m512i a, __m512i b) {
    return _mm512_permutex2var_epi64(a, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), b);
  }

  static Codes joined(const Codes& a, const Codes& b) {
    return {_mm512_or_si512(a.codes, _mm512_srlv_epi64(b.codes, a.bits)),
            _mm512_add_epi64(a.bits, b.bits)};
  }

  PlaneSettings<Group> s_;
  PlaneSplitter<Group> splitter_;
  PlaneCoder<Group> coder_;
  PlaneTails<Group> tails_;
  int reach_;
  CodeAppender appender_;
  bool is_first_ = true;
};

}  // namespace
}  // namespace ebpc::avx512
