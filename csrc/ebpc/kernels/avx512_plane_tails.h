// What stands behind the codes of a block's lanes: its top plane, which has no lane, and the base
// of the next block.

#pragma once

#include <algorithm>
#include <array>

#include "ebpc/kernels/avx512_bits.h"
#include "ebpc/kernels/avx512_code_appender.h"
#include "ebpc/kernels/avx512_lanes.h"
#include "ebpc/kernels/avx512_plane_group.h"
#include "ebpc/kernels/avx512_plane_symbols.h"

namespace ebpc {
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

  /// The bases behind the blocks that end in vector i.
  [[gnu::always_inline]] Codes bases(const Word* words, int i) const {
    const __m512i next = load_vector(words + (first_block(i) + 1) * s_.block_size);
    __m512i base = _mm512_xor_si512(
        _mm512_maskz_permutexvar_epi8(base_bytes, load_vector(base_places_.data()), next),
        base_flip_);
    if (s_.word_bits < Group::planes) {
      base = _mm512_sll_epi64(base, _mm_cvtsi32_si128(Group::planes - s_.word_bits));
    }
    return {base, base_bits_};
  }

  /// Instead of the codes of their lanes, those of blocks that end in vector i and have nothing but
  /// zero planes: one run.
  const Codes& flat(int i) const { return in(i) ? flat_ : none_; }

  /// The codes of the top planes of a group, block by block. The blocks in `alone` have something
  /// in their last lanes, so that a zero plane behind them is no part of a run.
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
        _mm512_add_epi64(load_vector(block_of_lane.data()), _mm512_set1_epi64(first_block(i)));
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
    return load_vector(wide.data());
  }

  /// The bits of each lane in reverse order.
  static __m512i reversed(__m512i x) {
    return swap_bytes(_mm512_gf2p8affine_epi64_epi8(
        x, _mm512_set1_epi64(static_cast<long long>(0x8040201008040201)), 0));
  }

  static constexpr std::size_t at(int i) { return static_cast<std::size_t>(i); }

  PlaneSettings<Group> s_;
  Word flip_;
  std::array<std::uint8_t, 64> base_places_{};
  __m512i base_flip_;
  __m512i base_bits_;
  Codes flat_;
  Codes none_{_mm512_setzero_si512(), _mm512_setzero_si512()};
};

}  // namespace
}  // namespace ebpc
