// The plane stream of 8-bit words in blocks of 8 with the base sent, the case that matters most:
// eight blocks at once, one in each 64-bit lane, without a branch that depends on the words.

#pragma once

#include <array>

#include "ebpc/kernels/avx512_bits.h"
#include "ebpc/kernels/avx512_code_appender.h"
#include "ebpc/parameters.h"

namespace ebpc {
namespace {

/// Tables of 64 or 128 bytes for byte permutations.
template <std::size_t size>
using ByteTable = std::array<std::uint8_t, size>;

namespace tables_8x8 {

/// The code of a plane that takes 8 bits, by its 7 bits of XORed plane: a single one, two ones
/// or uncompressed.
constexpr auto by_plane = [] {
  ByteTable<128> table{};
  for (unsigned x = 0; x < 128; ++x) {
    const auto first_one = static_cast<unsigned>(7 - std::bit_width(x));
    const unsigned rest = x & (x - 1);
    unsigned code = 0x80 | x;
    if (x != 0 && rest == 0) code = 0x18 | first_one;
    if (rest != 0 && x == (rest | rest >> 1) && (rest & (rest - 1)) == 0) code = 0x10 | first_one;
    table[x] = static_cast<std::uint8_t>(code);
  }
  return table;
}();

/// Indices into `shorter`: nothing, a run of 1 to 9 zero planes, and these.
constexpr std::uint8_t all_ones = 10;
constexpr std::uint8_t plane_zero = 11;
constexpr std::uint8_t left = 16;  // added for left-justified codes

constexpr int shorter_bits(unsigned kind) {
  return kind == 0 ? 0 : kind == 1 ? 2 : kind <= 9 ? 6 : 5;
}

/// The codes that do not take 8 bits, right-justified and from `left` on left-justified.
constexpr auto shorter = [] {
  ByteTable<64> table{};
  for (unsigned kind = 1; kind <= plane_zero; ++kind) {
    const unsigned code = kind == 1 ? 1 : kind <= 9 ? 8 | (kind - 2) : kind == plane_zero ? 1 : 0;
    table[kind] = static_cast<std::uint8_t>(code);
    table[left + kind] = static_cast<std::uint8_t>(code << (8 - shorter_bits(kind)));
  }
  return table;
}();

constexpr auto shorter_lengths = [] {
  ByteTable<64> table{};
  for (unsigned kind = 0; kind <= plane_zero; ++kind) {
    table[kind] = table[left + kind] = static_cast<std::uint8_t>(shorter_bits(kind));
  }
  return table;
}();

/// Byte i is i + 1, and `left` more where i is odd.
constexpr auto run_ends = [] {
  ByteTable<64> table{};
  for (unsigned i = 0; i < 64; ++i) table[i] = static_cast<std::uint8_t>(i + 1 + i % 2 * left);
  return table;
}();

constexpr auto iota = [] {
  ByteTable<64> table{};
  for (unsigned i = 0; i < 64; ++i) table[i] = static_cast<std::uint8_t>(i);
  return table;
}();

}  // namespace tables_8x8

class PlaneEncoder8x8 {
 public:
  PlaneEncoder8x8(const Parameters&, std::uint8_t flip, std::uint8_t* out)
      : out_(out), flip_(flip), appender_(out, base_bits) {}

  /// Words that one step takes. It looks at the word behind them, too.
  static constexpr std::size_t step_words = 64;

  /// Codes words in steps while at least one word stays behind them, each word XORed with `flip`.
  /// Returns how many words were coded.
  std::size_t encode(const std::uint8_t* words, std::size_t count) {
    std::size_t done = 0;
    for (; done + step_words < count; done += step_words) {
      begin(words[done]);
      step(words + done);
    }
    return done;
  }

  /// Codes the last words, at most a step of them, which zero words follow up to a second step.
  /// Returns the bits of the stream.
  std::uint64_t finish(const std::uint8_t* words, std::size_t count) {
    if (count == 0) return 0;
    begin(words[0]);
    const __m512i positions = step(words);
    std::array<std::uint64_t, 9> ends;
    store_vector(ends.data(), positions);
    ends[8] = appender_.bits();
    // The zero words behind the last block were coded, too: their base pads the last byte.
    return ends[(count + 7) / 8] - base_bits;
  }

 private:
  static constexpr int base_bits = 8;

  void begin(std::uint8_t base) {
    if (appender_.bits() == base_bits) out_[0] = static_cast<std::uint8_t>(base ^ flip_);
  }

  /// Codes 8 blocks: the symbols of each and the base of the next. Returns where the symbols of
  /// each begin.
  __m512i step(const std::uint8_t* words) {
    constexpr std::uint64_t deltas_mask = 0xFEFEFEFEFEFEFEFE;
    const __m512i word = load_vector(words);
    const __m512i before = load_vector(words - 1);
    const __m512i delta = _mm512_maskz_sub_epi8(deltas_mask, word, before);
    // A delta has 9 bits. The top one differs from the one below where the subtraction overflows:
    // (word ^ before) & (word ^ delta).
    const __m512i overflow = _mm512_ternarylogic_epi64(word, before, delta, 0x18);
    const std::uint64_t overflows = _mm512_movepi8_mask(overflow) & deltas_mask;
    return overflows == 0 ? code<false>(words, word, delta, overflow)
                          : code<true>(words, word, delta, overflow);
  }

  template <bool has_overflow>
  __m512i code(const std::uint8_t* words, __m512i word, __m512i delta, __m512i overflow) {
    namespace tables = tables_8x8;
    const __m512i zero = _mm512_setzero_si512();
    // An affine transform of constant rows by 8 deltas as the matrix transposes them. Rows with two
    // bits XOR neighbouring planes on the way. Byte p of a lane becomes plane p, which has 7 bits.
    const __m512i dbx = _mm512_gf2p8affine_epi64_epi8(
        _mm512_set1_epi64(static_cast<long long>(0xC06030180C060301)), delta, 0);
    const __m512i dbp = _mm512_gf2p8affine_epi64_epi8(
        _mm512_set1_epi64(static_cast<long long>(0x8040201008040201)), delta, 0);
    const std::uint64_t is_zero = _mm512_testn_epi8_mask(dbx, dbx);
    const std::uint64_t is_all_ones = _mm512_cmpeq_epi8_mask(dbx, _mm512_set1_epi8(0x7F));
    const std::uint64_t is_plane_zero = _mm512_testn_epi8_mask(dbp, dbp) & ~is_zero;

    // Plane 8. Where it is zero it lengthens a run that reaches plane 7 by one, so that plane 7
    // codes both, or is a single zero plane.
    const __m512i top_plane = _mm512_set1_epi64(static_cast<long long>(0xFFULL << 56));
    __mmask8 top_is_zero = 0xFF;
    __m512i top_dbx = zero;
    if constexpr (has_overflow) {
      top_dbx =
          _mm512_gf2p8affine_epi64_epi8(_mm512_set1_epi64(static_cast<long long>(0x80ULL << 56)),
                                        _mm512_maskz_mov_epi8(0xFEFEFEFEFEFEFEFE, overflow), 0);
      top_is_zero = _mm512_testn_epi64_mask(top_dbx, top_dbx);
    }

    // Runs of zero planes are coded where they end. The k-th start belongs to the k-th end, so
    // compressing the places of the starts and expanding them to the ends subtracts all at once.
    const std::uint64_t starts = is_zero & ~(is_zero << 1 & 0xFEFEFEFEFEFEFEFE);
    const std::uint64_t ends = is_zero & ~(is_zero >> 1 & 0x7F7F7F7F7F7F7F7F);
    const __m512i run_starts = _mm512_maskz_expand_epi8(
        ends, _mm512_maskz_compress_epi8(starts, load_vector(tables::iota.data())));
    const __m512i run_ends =
        _mm512_mask_add_epi64(load_vector(tables::run_ends.data()), top_is_zero,
                              load_vector(tables::run_ends.data()), _mm512_set1_epi64(1LL << 56));
    __m512i kind = _mm512_maskz_sub_epi8(ends, run_ends, run_starts);
    const __m512i left = _mm512_set1_epi16(static_cast<short>(tables::left << 8));
    kind = _mm512_mask_add_epi8(kind, is_plane_zero, left, _mm512_set1_epi8(tables::plane_zero));
    kind = _mm512_mask_add_epi8(kind, is_all_ones, left, _mm512_set1_epi8(tables::all_ones));

    const std::uint64_t is_shorter = is_zero | is_plane_zero | is_all_ones;
    const __m512i code_8 = eight_bit_code(dbx);
    const __m512i codes =
        _mm512_mask_permutexvar_epi8(code_8, is_shorter, kind, load_vector(tables::shorter.data()));
    const __m512i lengths = _mm512_mask_permutexvar_epi8(
        _mm512_set1_epi8(8), is_shorter, kind, load_vector(tables::shorter_lengths.data()));

    // Neighbouring codes are joined in three levels. In each pair the first stands right-justified
    // in the lower half, the second left-justified in the upper: rotating left by the second's
    // length gives both right-justified, rotating right by the first's both left-justified. That
    // is what the next level wants of its even and of its odd lanes.
    const __m512i rotation_16 = _mm512_maddubs_epi16(lengths, _mm512_set1_epi32(0x00FF0100));
    const __m512i lengths_16 = _mm512_maddubs_epi16(lengths, _mm512_set1_epi8(1));
    const __m512i codes_16 = _mm512_shldv_epi16(codes, codes, rotation_16);
    const __m512i rotation_32 =
        _mm512_madd_epi16(lengths_16, _mm512_set1_epi64(0x0000FFFF00010000));
    const __m512i lengths_32 = _mm512_madd_epi16(lengths_16, _mm512_set1_epi16(1));
    const __m512i codes_32 = _mm512_rolv_epi32(codes_16, rotation_32);
    const __m512i symbols = _mm512_rorv_epi64(codes_32, lengths_32);
    const __m512i symbol_bits = _mm512_sad_epu8(lengths, zero);

    // Behind the symbols of planes 0 to 7: that of plane 8, if it has its own, and the next base.
    const __m512i next_base = _mm512_xor_si512(
        _mm512_slli_epi64(load_vector(words + 8), 56),
        _mm512_set1_epi64(static_cast<long long>(static_cast<std::uint64_t>(flip_) << 56)));
    const __mmask8 top_is_single_zero = _mm512_mask_test_epi64_mask(top_is_zero, dbx, top_plane);
    __m512i top_bits = _mm512_maskz_set1_epi64(top_is_single_zero, 2);
    __m512i top_code = _mm512_maskz_set1_epi64(top_is_single_zero, 1LL << 62);
    if constexpr (has_overflow) {
      const auto top_is_other = static_cast<__mmask8>(~top_is_zero);
      const __m512i top_dbp = _mm512_and_si512(_mm512_xor_si512(top_dbx, dbp), top_plane);
      const __mmask8 top_is_all_ones =
          _mm512_cmpeq_epi64_mask(top_dbx, _mm512_set1_epi64(0x7FLL << 56));
      const auto top_is_plane_zero = static_cast<__mmask8>(
          _mm512_testn_epi64_mask(top_dbp, top_dbp) & top_is_other & ~top_is_all_ones);
      top_code = _mm512_mask_and_epi64(top_code, top_is_other, eight_bit_code(top_dbx), top_plane);
      top_code = _mm512_mask_mov_epi64(top_code, top_is_plane_zero, _mm512_set1_epi64(8LL << 56));
      top_code = _mm512_mask_mov_epi64(top_code, top_is_all_ones, zero);
      top_bits = _mm512_mask_mov_epi64(top_bits, top_is_other, _mm512_set1_epi64(8));
      top_bits = _mm512_mask_mov_epi64(top_bits,
                                       static_cast<__mmask8>(top_is_plane_zero | top_is_all_ones),
                                       _mm512_set1_epi64(5));
    }
    const __m512i tail = _mm512_or_si512(top_code, _mm512_srlv_epi64(next_base, top_bits));
    const __m512i bits =
        _mm512_add_epi64(_mm512_add_epi64(symbol_bits, top_bits), _mm512_set1_epi64(base_bits));
    const __m512i high = _mm512_or_si512(symbols, _mm512_srlv_epi64(tail, symbol_bits));
    const __m512i low =
        _mm512_sllv_epi64(tail, _mm512_sub_epi64(_mm512_set1_epi64(64), symbol_bits));

    // In front of a block's symbols is its base, the lowest byte of its words.
    return appender_.append(word, high, low, bits);
  }

  static __m512i eight_bit_code(__m512i dbx) {
    return _mm512_permutex2var_epi8(load_vector(tables_8x8::by_plane.data()), dbx,
                                    load_vector(tables_8x8::by_plane.data() + 64));
  }

  std::uint8_t* out_;
  std::uint8_t flip_;
  CodeAppender appender_;  // behind the first base
};

}  // namespace
}  // namespace ebpc
