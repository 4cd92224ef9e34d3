// Codes in lanes of vectors: neighbours joined up to 64 bits, then eight at once appended to a
// stream.

#pragma once

#include <array>

#include "ebpc/kernels/avx512/bits.h"

namespace ebpc::avx512 {
namespace {

/// Eight codes, left-justified, zeros behind them, and how many bits each has.
struct Codes {
  __m512i codes;
  __m512i bits;
};

/// Joins the codes of each 64-bit lane. In lanes of `lane_bits` (8 to 64) stand codes of up to as
/// many bits and, in the low byte, how many they have. Codes of even lanes are right-justified,
/// those of odd lanes left-justified; for 64 all are left-justified.
template <int lane_bits>
[[gnu::always_inline]] inline Codes join_codes(__m512i codes, __m512i lengths) {
  const __m512i bits = _mm512_sad_epu8(lengths, _mm512_setzero_si512());
  // In each pair the first stands right-justified in the lower half, the second left-justified in
  // the upper: rotating left by the second's length gives both right-justified, rotating right by
  // the first's both left-justified. That is what the next level wants of its even and of its odd
  // lanes.
  if constexpr (lane_bits == 8) {
    const __m512i rotation = _mm512_maddubs_epi16(lengths, _mm512_set1_epi32(0x00FF0100));
    codes = _mm512_shldv_epi16(codes, codes, rotation);
    lengths = _mm512_maddubs_epi16(lengths, kept(_mm512_set1_epi8(1)));
  }
  if constexpr (lane_bits <= 16) {
    const __m512i rotation = _mm512_madd_epi16(lengths, _mm512_set1_epi64(0x0000FFFF00010000));
    codes = _mm512_rolv_epi32(codes, rotation);
    lengths = _mm512_madd_epi16(lengths, kept(_mm512_set1_epi16(1)));
  }
  if constexpr (lane_bits <= 32) codes = _mm512_rorv_epi64(codes, lengths);
  return {codes, bits};
}

constexpr int any_reach = 16;

/// Appends codes where a stream stands. Up to 64 bytes behind the last code may be overwritten.
///
/// A code is stored as the bytes that it completes, the first of them with the bits in front of
/// the code. So eight bytes are enough for 64 bits wherever they begin, and what is stored of eight
/// codes is compressed to one vector.
class CodeAppender {
 public:
  explicit CodeAppender(std::uint8_t* out) : out_(out) {}

  /// Appends eight codes of up to 64 bits. Any `reach` codes in a row have 7 bits or more; from
  /// any_reach on that need not be.
  template <int reach>
  [[gnu::always_inline]] void append(const Codes& x) {
    // Each code's place: the sum of the lengths before it.
    const __m512i bits_before = _mm512_sad_epu8(
        _mm512_maskz_permutexvar_epi8(lower_lanes_mask, load_512(lower_lanes.data()), x.bits),
        _mm512_setzero_si512());
    const __m512i places = _mm512_add_epi64(position_, bits_before);
    position_ = _mm512_permutexvar_epi64(_mm512_set1_epi64(7), _mm512_add_epi64(places, x.bits));
    const __m512i bit = _mm512_and_si512(places, _mm512_set1_epi64(7));
    const __m512i in_front = with_bits_before<reach>(x);
    const __m512i bytes =
        swap_bytes(_mm512_shrdv_epi64(x.codes, _mm512_alignr_epi64(in_front, last_, 7), bit));
    last_ = in_front;
    const __m512i complete =
        _mm512_shuffle_epi8(_mm512_srli_epi64(_mm512_add_epi64(bit, x.bits), 3),
                            _mm512_broadcast_i32x4(_mm_set_epi64x(0x0808080808080808, 0)));
    const std::uint64_t stored =
        _mm512_cmpgt_epu8_mask(complete, _mm512_set1_epi64(0x0706050403020100));
    store_512(out_, _mm512_maskz_compress_epi8(stored, bytes));
    out_ += std::popcount(stored);
  }

  /// The first code, of up to 32 bits and right-justified.
  void begin(std::uint64_t code, int bits) {
    const std::uint64_t bytes = __builtin_bswap64(code << 1 << (63 - bits));
    std::memcpy(out_, &bytes, sizeof bytes);
    out_ += bits / 8;
    position_ = _mm512_set1_epi64(bits);
    last_ = _mm512_set1_epi64(static_cast<long long>(code));
  }

  /// Pads the last byte with zeros. Returns the bits of the stream.
  std::uint64_t finish() const {
    const auto last =
        static_cast<std::uint64_t>(_mm_extract_epi64(_mm512_extracti64x2_epi64(last_, 3), 1));
    // Of a complete byte nothing is left: what is stored then is behind the stream.
    *out_ = static_cast<std::uint8_t>(last << (8 - bits() % 8));
    return bits();
  }

  std::uint64_t bits() const {
    return static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm512_castsi512_si128(position_)));
  }

 private:
  /// Byte i of lane k takes the lowest byte of lane i if i < k.
  static constexpr auto lower_lanes = [] {
    std::array<std::uint8_t, 64> indices{};
    for (std::size_t i = 0; i < 64; ++i) indices[i] = static_cast<std::uint8_t>(i % 8 * 8);
    return indices;
  }();
  static constexpr std::uint64_t lower_lanes_mask = 0x7F3F1F0F07030100;

  /// The codes right-justified, each with what is in front of it.
  template <int reach>
  [[gnu::always_inline]] __m512i with_bits_before(const Codes& x) const {
    __m512i bits = x.bits;
    __m512i codes = _mm512_srlv_epi64(x.codes, _mm512_sub_epi64(_mm512_set1_epi64(64), bits));
    // Each step doubles the codes that are looked back at. Behind the last one of the vector before
    // there is nothing more to find: it has been looked back from already.
    const __m512i none = _mm512_set1_epi64(64);
    if constexpr (reach > 1) {
      codes = _mm512_or_si512(codes, _mm512_sllv_epi64(_mm512_alignr_epi64(codes, last_, 7), bits));
      bits = _mm512_add_epi64(bits, _mm512_alignr_epi64(bits, none, 7));
    }
    if constexpr (reach > 2) {
      codes = _mm512_or_si512(codes, _mm512_sllv_epi64(_mm512_alignr_epi64(codes, last_, 6), bits));
      bits = _mm512_add_epi64(bits, _mm512_alignr_epi64(bits, none, 6));
    }
    if constexpr (reach > 4) {
      codes = _mm512_or_si512(codes, _mm512_sllv_epi64(_mm512_alignr_epi64(codes, last_, 4), bits));
      bits = _mm512_add_epi64(bits, _mm512_alignr_epi64(bits, none, 4));
    }
    if constexpr (reach > 8) codes = _mm512_or_si512(codes, _mm512_sllv_epi64(last_, bits));
    return codes;
  }

  std::uint8_t* out_;                          // behind the last complete byte
  __m512i position_ = _mm512_setzero_si512();  // bits of the stream, in every lane
  __m512i last_ = _mm512_setzero_si512();  // the last lane ends with the last bits of the stream
};

}  // namespace
}  // namespace ebpc::avx512
