// Rows of uncompressed planes from plane streams to lanes, for every setting.

#pragma once

#include <algorithm>
#include <array>

#include "ebpc/kernels/avx512/bits.h"
#include "ebpc/kernels/generic/jobs.h"
#include "ebpc/kernels/generic/plane_syntax.h"

namespace ebpc::avx512 {
namespace {

/// Blocks of up to `slots` words. A plane is in a lane of as many bits, from the most significant
/// one on: after a base, first a bit that is not used, since there is no delta for the base; then
/// the bits of the deltas; what is after those is undefined.
template <class WordType, int slots_>
struct DecodeGroup {
  using Word = WordType;
  using Lane = avx512::Lane<slots_>;
  static constexpr int slots = slots_;
  static constexpr int word_bytes = sizeof(Word);
  static constexpr int planes = 8 * word_bytes;  // of a block, without that of the deltas' carry
  static constexpr int lane_bytes = sizeof(Lane);
  static constexpr int lane_bits = 8 * lane_bytes;
  static constexpr int block_bytes = planes * lane_bytes;
  static constexpr int vector_blocks = std::max(1, 64 / block_bytes);
  static constexpr int block_vectors = std::max(1, block_bytes / 64);  // of planes, and of words

  static constexpr int vector_eights = 8 / word_bytes;  // groups of 8 words in a vector

  static constexpr Lane lane_of(std::uint64_t plane, int plane_bits, bool base_sent) {
    return static_cast<Lane>(plane << (lane_bits - base_sent - plane_bits));
  }

  using Indices = std::array<std::uint8_t, 64>;

  /// Bytes of planes to 64-bit lanes of 8 planes' bits of 8 deltas, the first plane's last. Where a
  /// block takes several vectors, `part` is the vector of words that is made, from bytes of several
  /// vectors of planes.
  static constexpr auto gather_columns = [] {
    std::array<Indices, block_vectors> indices{};
    for (int part = 0; part < block_vectors; ++part) {
      for (int i = 0; i < 64; ++i) {
        const int eight = part * vector_eights + i / 8 % vector_eights;
        const int block = eight / lane_bytes;
        const int plane = 8 * (i / 8 / vector_eights) + 7 - i % 8;
        const int byte = lane_bytes - 1 - eight % lane_bytes;
        indices[at(part)][at(i)] =
            static_cast<std::uint8_t>((block * planes + plane) * lane_bytes + byte);
      }
    }
    return indices;
  }();

  /// The bytes that come from each vector of planes.
  static constexpr auto gather_masks = [] {
    std::array<std::array<std::uint64_t, block_vectors>, block_vectors> masks{};
    for (int part = 0; part < block_vectors; ++part) {
      for (int i = 0; i < 64; ++i) {
        masks[at(part)][gather_columns[at(part)][at(i)] / 64] |= std::uint64_t{1} << i;
      }
    }
    return masks;
  }();

  /// The transposed columns, in which the bytes of 8 words have a 64-bit lane for each weight, to
  /// words.
  static constexpr Indices gather_words = [] {
    Indices indices{};
    for (int i = 0; i < 64; ++i) {
      const int word = i / word_bytes;
      const int qword = i % word_bytes * vector_eights + word / 8;
      indices[at(i)] = static_cast<std::uint8_t>(8 * qword + word % 8);
    }
    return indices;
  }();

  /// Bases, one after the other, to the first words of blocks; and the bytes of these.
  static constexpr Indices gather_bases = [] {
    Indices indices{};
    for (int i = 0; i < 64; ++i) {
      indices[at(i)] =
          static_cast<std::uint8_t>(i / word_bytes / slots * word_bytes + i % word_bytes);
    }
    return indices;
  }();
  static constexpr std::uint64_t base_mask = [] {
    std::uint64_t mask = 0;
    for (int i = 0; i < 64; ++i) {
      if (i / word_bytes % slots == 0) mask |= std::uint64_t{1} << i;
    }
    return mask;
  }();
};

/// Vectors of 32 or 64 bytes, whose lanes become half as wide.
template <int bytes>
struct WideVector;

template <>
struct WideVector<32> {
  static __m256i load(const std::uint8_t* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }
  static __m256i permute(__m256i indices, __m256i a) { return _mm256_permutexvar_epi8(indices, a); }

  /// Shifts lanes to the right by `counts`, each, and keeps their lower half.
  template <int half_bytes>
  static __m128i shift_and_halve(__m256i a, __m256i counts) {
    if constexpr (half_bytes == 1) return _mm256_cvtepi16_epi8(_mm256_srlv_epi16(a, counts));
    if constexpr (half_bytes == 2) return _mm256_cvtepi32_epi16(_mm256_srlv_epi32(a, counts));
  }
  template <int half_bytes>
  static std::uint64_t testn(__m256i a, __m256i b) {
    if constexpr (half_bytes == 1) return bits_of(_mm256_testn_epi16_mask(a, b));
    if constexpr (half_bytes == 2) return bits_of(_mm256_testn_epi32_mask(a, b));
  }

  /// Of a half: a mask of bytes other than 1xxxxxxx and 0001xxxx. With bit 4 flipped, those are
  /// less than 16 as signed ones.
  static std::uint64_t not_eights(__m128i a) {
    const __m128i bit_4 = _mm_set1_epi8(0x10);
    return bits_of(_mm_cmpge_epi8_mask(_mm_xor_si128(a, bit_4), bit_4));
  }
  static void store_half(std::uint8_t* to, __m128i a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), a);
  }
};

template <>
struct WideVector<64> {
  static __m512i load(const std::uint8_t* from) { return load_512(from); }
  static __m512i permute(__m512i indices, __m512i a) { return _mm512_permutexvar_epi8(indices, a); }
  template <int half_bytes>
  static __m256i shift_and_halve(__m512i a, __m512i counts) {
    if constexpr (half_bytes == 1) return _mm512_cvtepi16_epi8(_mm512_srlv_epi16(a, counts));
    if constexpr (half_bytes == 2) return _mm512_cvtepi32_epi16(_mm512_srlv_epi32(a, counts));
    if constexpr (half_bytes == 4) return _mm512_cvtepi64_epi32(_mm512_srlv_epi64(a, counts));
  }
  template <int half_bytes>
  static std::uint64_t testn(__m512i a, __m512i b) {
    if constexpr (half_bytes == 1) return bits_of(_mm512_testn_epi16_mask(a, b));
    if constexpr (half_bytes == 2) return bits_of(_mm512_testn_epi32_mask(a, b));
    if constexpr (half_bytes == 4) return bits_of(_mm512_testn_epi64_mask(a, b));
  }
  static std::uint64_t not_eights(__m256i a) {
    const __m256i bit_4 = _mm256_set1_epi8(0x10);
    return bits_of(_mm256_cmpge_epi8_mask(_mm256_xor_si256(a, bit_4), bit_4));
  }
  static void store_half(std::uint8_t* to, __m256i a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), a);
  }
};

/// Copies rows of planes, each from any bit of a stream on, to lanes: for PlanePass.
template <class Syntax>
class VectorRows {
 public:
  using Group = typename Syntax::Group;

  /// Planes that are copied at once. In blocks of 64, one takes all of a window.
  static constexpr std::size_t planes =
      Group::slots == 64
          ? 1
          : std::clamp(Group::planes, 16 / Group::lane_bytes, 32 / Group::lane_bytes);

  /// The bits of uncompressed planes from the first one on are 0, and the one after them is 1.
  using Row = std::uint32_t;
  static std::uint64_t count(Row row) { return static_cast<std::uint64_t>(std::countr_zero(row)); }

  explicit VectorRows(const Syntax& syntax) {
    // A lane is cut out of the bits of one twice as wide, which begins with a whole byte.
    for (int shift = 0; shift < 8; ++shift) {
      for (int i = 0; i < 64; ++i) {
        const int bit = shift + i / wide_lane_bytes * (1 + syntax.sizes.plane_bits);
        const int byte = wide_lane_bytes - 1 - i % wide_lane_bytes;  // in the order of the stream
        const int after = Group::lane_bits - bit % 8 - (Syntax::base_sent ? 0 : 1);
        bytes_[at(shift)][at(i)] = static_cast<std::uint8_t>(bit / 8 + byte);
        first_bits_[at(shift)][at(i)] = static_cast<std::uint8_t>(byte == 0 ? 0x80 >> bit % 8 : 0);
        counts_[at(shift)][at(i)] = static_cast<std::uint8_t>(i % wide_lane_bytes == 0 ? after : 0);
      }
    }
  }

  [[gnu::always_inline]] Row copy(const std::uint8_t* from, std::uint64_t shift,
                                  std::uint8_t* to) const {
    if constexpr (Group::slots == 64) {
      const std::uint64_t plane_bit = shift + (Syntax::base_sent ? 0 : 1);
      const std::uint64_t next = from[(plane_bit >> 3) + 8];
      const std::uint64_t plane = window(from, plane_bit) | next >> (8 - (plane_bit & 7));
      std::memcpy(to, &plane, sizeof plane);
      return *from >> (7 - shift) & 1 ? 2 : 1;
    } else {
      const std::uint64_t entry = 64 * shift;
      const auto load = [entry](const Table& table) {
        return Vector::load(table.front().data() + entry);
      };
      const auto wide = Vector::permute(load(bytes_), Vector::load(from));
      const auto lanes = Vector::template shift_and_halve<Group::lane_bytes>(wide, load(counts_));
      Vector::store_half(to, lanes);
      std::uint32_t others;
      if constexpr (Syntax::eights) {
        others = static_cast<std::uint32_t>(Vector::not_eights(lanes));
      } else {
        others = static_cast<std::uint32_t>(
            Vector::template testn<Group::lane_bytes>(wide, load(first_bits_)));
      }
      // Where a row has nearly all planes of a block, one that is full is one that goes too far.
      return planes < std::size_t{Group::planes} ? others | std::uint32_t{1} << planes : others;
    }
  }

 private:
  static constexpr int wide_lane_bytes = 2 * Group::lane_bytes;
  using Vector = WideVector<std::max(32, static_cast<int>(planes) * wide_lane_bytes)>;
  using Table = std::array<std::array<std::uint8_t, 64>, 8>;

  alignas(64) Table bytes_;       // which make a wide lane
  alignas(64) Table first_bits_;  // of codes, in wide lanes
  alignas(64) Table counts_;      // by which wide lanes are shifted
};

}  // namespace
}  // namespace ebpc::avx512
