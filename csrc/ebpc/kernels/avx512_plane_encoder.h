// Writes the plane stream with AVX-512.

#pragma once

#include <algorithm>
#include <array>

#include "ebpc/kernels/avx512_bits.h"
#include "ebpc/kernels/avx512_code_appender.h"
#include "ebpc/kernels/avx512_plane_symbols.h"
#include "ebpc/kernels/avx512_plane_tails.h"
#include "ebpc/parameters.h"

namespace ebpc {
namespace {

/// Codes groups of blocks in two steps, so that many groups are in the works at the same time:
/// their codes are made and kept in the L1 cache, then appended to the stream.
///
/// The codes of a block are those of each 64 bits of its lanes; behind them comes what has no lane,
/// its top plane and the base of the next block. Most of the time the top plane is zero and
/// lengthens a run, and the base fits behind the codes of the last lanes. For other groups these
/// tails become codes of their own.
template <class Group>
class PlaneEncoder {
 public:
  using Word = typename Group::Word;

  /// Words of a group, and of as many as are coded at a time, at most.
  static constexpr std::size_t step_words = Group::blocks * Group::slots;
  static constexpr std::size_t batch_groups = 16 / Group::vectors;
  static constexpr std::size_t batch_words = batch_groups * step_words;

  PlaneEncoder(const Parameters& p, Word flip, std::uint8_t* out)
      : s_(p), splitter_(s_), coder_(s_), tails_(s_, flip), reach_(reach_of(s_)), appender_(out) {}

  /// Codes whole batches of `words` while at least one word stays behind them, each word XORed with
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
  using Planes = typename PlaneSplitter<Group>::Planes;

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
    const Planes planes = splitter_.split(words);
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
  /// behind `bases` of them.
  [[gnu::noinline]] Codes* code_with_tails_apart(const Word* words, int blocks, int bases,
                                                 Codes* out) const {
    const Planes planes = splitter_.split(words);
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

  static constexpr std::size_t at(int i) { return static_cast<std::size_t>(i); }

  PlaneSettings<Group> s_;
  PlaneSplitter<Group> splitter_;
  PlaneCoder<Group> coder_;
  PlaneTails<Group> tails_;
  int reach_;
  CodeAppender appender_;
  bool is_first_ = true;
};

}  // namespace
}  // namespace ebpc
