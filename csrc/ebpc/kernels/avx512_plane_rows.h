// Rows of uncompressed planes from plane streams to lanes.

#pragma once

#include <array>
#include <utility>

#include "ebpc/kernels/avx512_plane_syntax.h"
#include "ebpc/kernels/avx512_stream_lanes.h"

namespace ebpc {
namespace {

/// Vectors of 32 or 64 bytes, whose lanes become half as wide.
template <int bytes>
struct WideVector;

template <>
struct WideVector<32> {
  static __m256i load(const std::uint8_t* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }
  static __m256i permute(__m256i indices, __m256i a) {
    return _mm256_permutexvar_epi8(indices, a);
  }

  /// Shifts lanes to the right by `counts`, each, and keeps their lower half.
  template <int half_bytes>
  static __m128i shift_and_halve(__m256i a, __m256i counts) {
    if constexpr (half_bytes == 1) return _mm256_cvtepi16_epi8(_mm256_srlv_epi16(a, counts));
    if constexpr (half_bytes == 2) return _mm256_cvtepi32_epi16(_mm256_srlv_epi32(a, counts));
  }
  template <int half_bytes>
  static std::uint64_t test(__m256i a, __m256i b) {
    if constexpr (half_bytes == 1) return _mm256_test_epi16_mask(a, b);
    if constexpr (half_bytes == 2) return _mm256_test_epi32_mask(a, b);
  }

  /// Of a half: a mask of bytes 1xxxxxxx and 0001xxxx. With bit 4 flipped, these are less than 16 as
  /// signed ones.
  static std::uint64_t eights(__m128i a) {
    const __m128i bit_4 = _mm_set1_epi8(0x10);
    return _mm_cmplt_epi8_mask(_mm_xor_si128(a, bit_4), bit_4);
  }
  static void store_half(std::uint8_t* to, __m128i a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), a);
  }
};

template <>
struct WideVector<64> {
  static __m512i load(const std::uint8_t* from) { return load_vector(from); }
  static __m512i permute(__m512i indices, __m512i a) {
    return _mm512_permutexvar_epi8(indices, a);
  }
  template <int half_bytes>
  static __m256i shift_and_halve(__m512i a, __m512i counts) {
    if constexpr (half_bytes == 1) return _mm512_cvtepi16_epi8(_mm512_srlv_epi16(a, counts));
    if constexpr (half_bytes == 2) return _mm512_cvtepi32_epi16(_mm512_srlv_epi32(a, counts));
    if constexpr (half_bytes == 4) return _mm512_cvtepi64_epi32(_mm512_srlv_epi64(a, counts));
  }
  template <int half_bytes>
  static std::uint64_t test(__m512i a, __m512i b) {
    if constexpr (half_bytes == 1) return _mm512_test_epi16_mask(a, b);
    if constexpr (half_bytes == 2) return _mm512_test_epi32_mask(a, b);
    if constexpr (half_bytes == 4) return _mm512_test_epi64_mask(a, b);
  }
  static std::uint64_t eights(__m256i a) {
    const __m256i bit_4 = _mm256_set1_epi8(0x10);
    return _mm256_cmplt_epi8_mask(_mm256_xor_si256(a, bit_4), bit_4);
  }
  static void store_half(std::uint8_t* to, __m256i a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), a);
  }
};

/// Copies rows of planes, each from any bit of a stream on, to lanes.
template <class Group, class Syntax>
class PlaneRows {
 public:
  /// Planes that are copied at once. In blocks of 64, one takes all of a window.
  static constexpr int planes = Group::slots == 64
                                    ? 1
                                    : std::clamp(Group::planes, 16 / Group::lane_bytes,
                                                 32 / Group::lane_bytes);
  static constexpr int store_bytes = planes * Group::lane_bytes;

  explicit PlaneRows(const Syntax& syntax) {
    // A lane is cut out of the bits of one twice as wide, which begins with a whole byte.
    for (int shift = 0; shift < 8; ++shift) {
      for (int i = 0; i < 64; ++i) {
        const int bit = shift + i / wide_lane_bytes * (1 + syntax.plane_size);
        const int byte = wide_lane_bytes - 1 - i % wide_lane_bytes;  // in the order of the stream
        const int behind = Group::lane_bits - bit % 8 - (Syntax::base_sent ? 0 : 1);
        bytes_[index(shift)][index(i)] = static_cast<std::uint8_t>(bit / 8 + byte);
        first_bits_[index(shift)][index(i)] =
            static_cast<std::uint8_t>(byte == 0 ? 0x80 >> bit % 8 : 0);
        counts_[index(shift)][index(i)] =
            static_cast<std::uint8_t>(i % wide_lane_bytes == 0 ? behind : 0);
      }
    }
  }

  /// Copies planes from 8 addresses of bits to addresses of bytes, whether there are any or not.
  /// Returns a mask for each stream: the bits of uncompressed planes, from the first on, are 1.
  [[gnu::always_inline]] __m512i copy(__m512i bit, __m512i out) const {
    const __m512i shift = _mm512_and_si512(bit, _mm512_set1_epi64(7));
    if constexpr (Group::slots == 64) {
      const Windows windows = load_wide_windows(bit);
      __m512i plane = _mm512_shldv_epi64(windows.high, windows.low, shift);
      const __m512i is_plane = _mm512_srli_epi64(plane, 63);
      if constexpr (!Syntax::base_sent) {
        plane = _mm512_shldi_epi64(plane, _mm512_sllv_epi64(windows.low, shift), 1);
      }
      store_lanes<std::uint64_t>(out, plane);
      return is_plane;
    } else {
      alignas(64) std::array<std::uint64_t, 8> from;
      alignas(64) std::array<std::uint64_t, 8> tables;
      alignas(64) std::array<std::uint64_t, 8> to;
      store_vector(from.data(), _mm512_srli_epi64(bit, 3));
      store_vector(tables.data(), _mm512_slli_epi64(shift, 6));
      store_vector(to.data(), out);
      const auto copy_lane = [&](std::size_t lane) {
        return copy_row(reinterpret_cast<const std::uint8_t*>(from[lane]), tables[lane],
                        reinterpret_cast<std::uint8_t*>(to[lane]));
      };
      if constexpr (planes == 8) {
        return _mm512_cvtepu8_epi64(_mm_cvtsi64_si128(join<8>(copy_lane, 0)));
      } else if constexpr (planes == 16) {
        return _mm512_cvtepu16_epi64(_mm_set_epi64x(join<4>(copy_lane, 4), join<4>(copy_lane, 0)));
      } else {
        return _mm512_cvtepu32_epi64(
            _mm256_set_epi64x(join<2>(copy_lane, 6), join<2>(copy_lane, 4), join<2>(copy_lane, 2),
                              join<2>(copy_lane, 0)));
      }
    }
  }

 private:
  using Vector = WideVector<std::max(32, 2 * store_bytes)>;
  using Table = std::array<std::array<std::uint8_t, 64>, 8>;
  static constexpr int wide_lane_bytes = 2 * Group::lane_bytes;

  /// The masks of `count` lanes, one behind the other.
  template <std::size_t count, class CopyLane>
  [[gnu::always_inline]] static long long join(const CopyLane& copy_lane, std::size_t first) {
    return [&]<std::size_t... i>(std::index_sequence<i...>) {
      return static_cast<long long>(((copy_lane(first + i) << (i * planes)) | ...));
    }(std::make_index_sequence<count>());
  }

  /// `table` is the offset of the entry for the place of the first bit in its byte.
  [[gnu::always_inline]] std::uint64_t copy_row(const std::uint8_t* from, std::size_t table,
                                                std::uint8_t* to) const {
    const auto load = [table](const Table& entries) {
      return Vector::load(entries.front().data() + table);
    };
    const auto wide = Vector::permute(load(bytes_), Vector::load(from));
    const auto lanes = Vector::template shift_and_halve<Group::lane_bytes>(wide, load(counts_));
    Vector::store_half(to, lanes);
    if constexpr (Syntax::eights) return Vector::eights(lanes);
    return Vector::template test<Group::lane_bytes>(wide, load(first_bits_));
  }

  alignas(64) Table bytes_;       // which make a wide lane
  alignas(64) Table first_bits_;  // of codes, in wide lanes
  alignas(64) Table counts_;      // by which wide lanes are shifted
};

}  // namespace
}  // namespace ebpc
