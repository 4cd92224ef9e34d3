// What the files of the AVX-512 kernel share: vectors and masks, tiles of words, and their non-zero
// words packed.

#pragma once

// g++ 12 takes the undefined operands inside of intrinsics for mistakes (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "ebpc/kernels/generic/vectors.h"

namespace ebpc::avx512 {
namespace {

constexpr std::size_t at(int i) { return static_cast<std::size_t>(i); }

/// Words that are worked on at once, so that everything about them stays in the L1 cache.
constexpr std::size_t tile_words = 1024;

/// Reverses the bytes of each 64-bit lane.
inline __m512i swap_bytes(__m512i x) {
  return _mm512_shuffle_epi8(
      x, _mm512_broadcast_i32x4(_mm_set_epi64x(0x08090A0B0C0D0E0F, 0x0001020304050607)));
}

inline __m512i load_512(const void* from) { return _mm512_loadu_si512(from); }
inline void store_512(void* to, __m512i x) { _mm512_storeu_si512(to, x); }

/// The vector itself, but opaque: compilers make a vector of small constants anew from a general
/// register wherever it is used, which takes as long as a shuffle.
inline __m512i kept(__m512i x) {
  asm("" : "+v"(x));
  return x;
}

/// The bits of a mask as a number, taken out by an instruction that compilers don't see through:
/// g++ (12, and later ones) may spill a mask as it is, as 1, 2 or 4 bytes, and load it as 4 or 8,
/// of which the rest was never written.
inline std::uint64_t bits_of(__mmask8 mask) {
  std::uint64_t bits;
  asm("kmovb %1, %k0" : "=r"(bits) : "k"(mask));
  return bits;
}
inline std::uint64_t bits_of(__mmask16 mask) {
  std::uint64_t bits;
  asm("kmovw %1, %k0" : "=r"(bits) : "k"(mask));
  return bits;
}
inline std::uint64_t bits_of(__mmask32 mask) {
  std::uint64_t bits;
  asm("kmovd %1, %k0" : "=r"(bits) : "k"(mask));
  return bits;
}
inline std::uint64_t bits_of(__mmask64 mask) { return mask; }

/// std::array of vectors, which g++ warns of: a template argument loses the type's alignment.
template <int count>
struct VectorArray {
  __m512i vectors[count];
  __m512i& operator[](int i) { return vectors[i]; }
  const __m512i& operator[](int i) const { return vectors[i]; }
};

// ---- Vector operations on lanes of 8, 16, 32 or 64 bits under one name each.

// The operations that differ in nothing but the width of lanes.
template <int bits>
struct LaneOperations;
#define EBPC_LANE_OPERATIONS(bits, MaskType, Integer)                                             \
  template <>                                                                                     \
  struct LaneOperations<bits> {                                                                   \
    using Mask = MaskType;                                                                        \
    using V = __m512i;                                                                            \
    static V set(std::uint64_t x) { return _mm512_set1_epi##bits(static_cast<Integer>(x)); }      \
    static Mask is_zero(V a) { return _mm512_testn_epi##bits##_mask(a, a); }                      \
    static Mask is_zero(Mask k, V a) { return _mm512_mask_testn_epi##bits##_mask(k, a, a); }      \
    static Mask is_nonzero(V a) { return _mm512_test_epi##bits##_mask(a, a); }                    \
    static Mask differ(V a, V b) { return _mm512_cmpneq_epi##bits##_mask(a, b); }                 \
    static Mask differ(Mask k, V a, V b) { return _mm512_mask_cmpneq_epi##bits##_mask(k, a, b); } \
    static Mask equal(Mask k, V a, V b) { return _mm512_mask_cmpeq_epi##bits##_mask(k, a, b); }   \
    static Mask sign(V a) { return _mm512_movepi##bits##_mask(a); }                               \
    static V add(V a, V b) { return _mm512_add_epi##bits(a, b); }                                 \
    static V sub(V a, V b) { return _mm512_sub_epi##bits(a, b); }                                 \
    static V sub(Mask k, V a, V b) { return _mm512_maskz_sub_epi##bits(k, a, b); }                \
    static V blend(Mask k, V a, V b) { return _mm512_mask_blend_epi##bits(k, a, b); }             \
    static V keep(Mask k, V a) { return _mm512_maskz_mov_epi##bits(k, a); }                       \
    static V popcount(V a) { return _mm512_popcnt_epi##bits(a); }                                 \
    static V compress(Mask k, V a) { return _mm512_maskz_compress_epi##bits(k, a); }              \
    static V expand(V zero, Mask k, V a) { return _mm512_mask_expand_epi##bits(zero, k, a); }     \
  }
EBPC_LANE_OPERATIONS(8, __mmask64, char);
EBPC_LANE_OPERATIONS(16, __mmask32, short);
EBPC_LANE_OPERATIONS(32, __mmask16, int);
EBPC_LANE_OPERATIONS(64, __mmask8, long long);
#undef EBPC_LANE_OPERATIONS

/// And those that do. shift_up: lane i gets lane i - 1, the first one the last of `before`; lanes
/// outside of k are zero. For 8 and 16 bits the first lane must be outside.
template <int bits>
struct Lanes;

template <>
struct Lanes<8> : LaneOperations<8> {
  static V shift_up(Mask k, V a, V /*before*/) {
    return _mm512_maskz_permutexvar_epi8(k, load_512(byte_before.data()), a);
  }
  static V widen(const std::uint8_t* bytes) { return load_512(bytes); }

 private:
  static constexpr auto byte_before = [] {
    std::array<std::uint8_t, 64> before{};
    for (std::size_t i = 1; i < 64; ++i) before[i] = static_cast<std::uint8_t>(i - 1);
    return before;
  }();
};

template <>
struct Lanes<16> : LaneOperations<16> {
  static V shift_left(Mask k, V a, V bits) { return _mm512_mask_sllv_epi16(a, k, a, bits); }
  static V shift_up(Mask k, V a, V /*before*/) {
    return _mm512_maskz_permutexvar_epi16(k, load_512(pair_before.data()), a);
  }
  static V widen(const std::uint8_t* bytes) {
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes)));
  }

 private:
  static constexpr auto pair_before = [] {
    std::array<std::uint16_t, 32> before{};
    for (std::size_t i = 1; i < 32; ++i) before[i] = static_cast<std::uint16_t>(i - 1);
    return before;
  }();
};

template <>
struct Lanes<32> : LaneOperations<32> {
  static V shift_left(Mask k, V a, V bits) { return _mm512_mask_sllv_epi32(a, k, a, bits); }
  static V shift_up(Mask k, V a, V before) { return _mm512_maskz_alignr_epi32(k, a, before, 15); }
  static V widen(const std::uint8_t* bytes) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
  }
};

template <>
struct Lanes<64> : LaneOperations<64> {
  static V shift_left(Mask k, V a, V bits) { return _mm512_mask_sllv_epi64(a, k, a, bits); }
  static V shift_up(Mask k, V a, V before) { return _mm512_maskz_alignr_epi64(k, a, before, 7); }
  static V widen(const std::uint8_t* bytes) {
    return _mm512_cvtepu8_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes)));
  }
};

// ---- Codes in lanes of vectors: neighbours joined up to 64 bits, then eight at once appended to a
// stream.

/// Eight codes, left-justified, zeros after them, and how many bits each has.
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

/// Appends codes where a stream stands. Up to 64 bytes after the last code may be overwritten.
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
    // Of a complete byte nothing is left: what is stored then is after the stream.
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

  std::uint8_t* out_;                          // after the last complete byte
  __m512i position_ = _mm512_setzero_si512();  // bits of the stream, in every lane
  __m512i last_ = _mm512_setzero_si512();  // the last lane ends with the last bits of the stream
};

// ---- Bit streams in the 64-bit lanes of vectors, each with an address of its own.

/// Bits of a window that are valid from any bit of its first byte on.
constexpr int valid_window_bits = 57;

/// The 64-bit lanes of a vector, one by one, by way of memory: a store and loads take less time
/// than instructions that take a vector to pieces one lane after the other.
class LaneValues {
 public:
  explicit LaneValues(__m512i vector) { store_512(values_.data(), vector); }
  std::uint64_t operator[](std::size_t lane) const { return values_[lane]; }

 private:
  alignas(64) std::array<std::uint64_t, 8> values_;
};

/// Calls f(0), f(1), ... for `count` vectors, unrolled. Within a vector, each step waits for the
/// one before; short pieces of it for all vectors in turn keep the CPU busy.
template <int count, class F>
[[gnu::always_inline]] inline void for_each_vector(F&& f) {
  [&]<int... i>(std::integer_sequence<int, i...>) {
    (f(i), ...);
  }(std::make_integer_sequence<int, count>());
}

/// The 128 bits from eight addresses' bytes on, in the order of the streams.
struct Windows {
  __m512i high;  // the first 64 bits
  __m512i low;
};

/// Loads from the bytes with the bits at `bit`, bit addresses. A load for each lane and insertions
/// take a third of the time of two gathers.
[[gnu::always_inline]] inline Windows load_wide_windows(__m512i bit) {
  const LaneValues from(_mm512_srli_epi64(bit, 3));
  const auto load = [&](std::size_t lane) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from[lane]));
  };
  __m512i even = _mm512_castsi128_si512(load(0));
  __m512i odd = _mm512_castsi128_si512(load(1));
  even = _mm512_inserti32x4(even, load(2), 1);
  odd = _mm512_inserti32x4(odd, load(3), 1);
  even = _mm512_inserti32x4(even, load(4), 2);
  odd = _mm512_inserti32x4(odd, load(5), 2);
  even = _mm512_inserti32x4(even, load(6), 3);
  odd = _mm512_inserti32x4(odd, load(7), 3);
  return {swap_bytes(_mm512_unpacklo_epi64(even, odd)),
          swap_bytes(_mm512_unpackhi_epi64(even, odd))};
}

/// The first 64 of these bits.
[[gnu::always_inline]] inline __m512i load_windows(__m512i bit) {
  return load_wide_windows(bit).high;
}

/// Stores the low bytes of each lane at its own address.
template <class T>
[[gnu::always_inline]] inline void store_lanes(__m512i addresses, __m512i values) {
  const LaneValues to(addresses);
  const LaneValues from(values);
  for (std::size_t i = 0; i < 8; ++i) {
    const auto value = static_cast<T>(from[i]);
    std::memcpy(reinterpret_cast<void*>(to[i]), &value, sizeof value);
  }
}

}  // namespace
}  // namespace ebpc::avx512
