// The plane stream of the AVX2 encoder, and its bits, for 8-bit words in blocks of 8 after a sent
// base.
//
// Vectors turn four blocks at a time into code bytes, one per bit plane, and a mask of the bits of
// these that are part of the code; each block's bits are gathered by one `pext` and written. These
// are separate loops: in one, they are slower.

#pragma once

#include <immintrin.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ebpc/kernels/generic/encode.h"
#include "ebpc/kernels/generic/planes.h"
#include "ebpc/kernels/generic/stream_writer.h"
#include "ebpc/kernels/plane_codes.h"

namespace ebpc::avx2 {
namespace {

constexpr unsigned fast_word_bits = 8;
constexpr std::size_t fast_block_size = 8;
constexpr std::size_t blocks_per_vector = 4;

__m256i broadcast(unsigned byte) { return _mm256_set1_epi8(static_cast<char>(byte)); }

/// Blocks of one chunk between the vectors and the bit writing. Of a block's 64 bits, the most
/// significant byte belongs to plane 0. Plane 8 (the sign of the deltas) stands apart.
///
/// A block is regular if X is zero from plane 6 to plane 8, and no other zero X are side by side
/// but those that come before these. Then its codes fit 64 bits: the base is in the first byte,
/// those of planes 0 to 6 follow, the last run's where its first plane is. Of other blocks, bytes
/// of zero X are empty.
struct EncodedBlocks {
  // Those left from the chunk before, and the last words after it.
  static constexpr std::size_t capacity = blocks_per_vector + (chunk_words + 64) / fast_block_size;

  alignas(32) std::uint64_t codes[capacity];   // one byte per plane
  alignas(32) std::uint64_t used[capacity];    // bits of these that are part of the code
  alignas(32) std::uint64_t sign_x[capacity];  // X[8]: a byte per delta, of which bit 7 counts
  std::uint8_t regular[capacity / blocks_per_vector];  // a bit for each of four blocks
};

/// Codes of X with one 1, or two adjacent ones, from nibbles: X has seven bits, from 7 to 1. The
/// marker makes a sum of two codes overflow into bit 7, as does `several`: then X goes as it is.
constexpr int marker = 0x60;
constexpr int several = 0x80;
constexpr int marked_code(unsigned x) {
  return marker | static_cast<int>(code_of_plane(x, false, common_code_sizes).code);
}
constexpr int single(int index) { return marked_code(0b1000000U >> index); }
constexpr int pair(int index) { return marked_code(0b1100000U >> index); }

/// Code bytes of X. Zero, all ones and a zero plane are dealt with by the caller.
__m256i codes_of_x(__m256i x) {
  const __m256i nibble = broadcast(0x0F);
  const __m256i high_codes = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, single(3), single(2), pair(2), single(1), char(several), pair(1),
                    char(several), single(0), char(several), char(several), char(several), pair(0),
                    char(several), char(several), char(several)));
  const __m256i low_codes = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 0, single(6), 0, single(5), 0, pair(5), 0, single(4), 0, char(several), 0,
                    pair(4), 0, char(several), 0));
  const __m256i high =
      _mm256_shuffle_epi8(high_codes, _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble));
  const __m256i low = _mm256_shuffle_epi8(low_codes, _mm256_and_si256(x, nibble));
  const __m256i sum = _mm256_adds_epu8(high, low);
  const __m256i indexed = _mm256_and_si256(sum, broadcast(0x1F));
  const __m256i raw = _mm256_or_si256(_mm256_srli_epi16(x, 1), broadcast(0x80));
  const __m256i code = _mm256_blendv_epi8(indexed, raw, sum);
  const __m256i pair_across_nibbles = _mm256_cmpeq_epi8(x, broadcast(0x18));
  return _mm256_blendv_epi8(code, broadcast(pair(3) & 0x1F), pair_across_nibbles);
}

/// Flips the sign of unsigned words, so that they compare as signed ones.
__m256i sign_flip(const Parameters& p) { return broadcast(p.is_signed ? 0 : 0x80); }

__m256i load(const void* from) { return _mm256_load_si256(static_cast<const __m256i*>(from)); }

void store(std::uint64_t* to, __m256i x) { _mm256_store_si256(reinterpret_cast<__m256i*>(to), x); }

/// The planes of four blocks of packed words.
struct FourBlocks {
  /// `flip` is what sign_flip gives.
  static FourBlocks from(const std::uint8_t* packed, __m256i flip) {
    const __m256i seven_bytes = _mm256_set1_epi64x(0x00FFFFFFFFFFFFFF);
    const __m256i words = load(packed);
    const __m256i next_words = _mm256_srli_epi64(words, 8);
    const __m256i deltas = _mm256_and_si256(_mm256_sub_epi8(next_words, words), seven_bytes);
    // Bit 8 of the deltas; the comparison is signed.
    const __m256i sign_plane = _mm256_and_si256(
        _mm256_cmpgt_epi8(_mm256_xor_si256(words, flip), _mm256_xor_si256(next_words, flip)),
        seven_bytes);
    return {reinterpret_cast<__m256i>(antitranspose(reinterpret_cast<Qwords>(deltas))), sign_plane,
            _mm256_xor_si256(sign_plane, deltas)};
  }

  __m256i planes;      // a byte per plane
  __m256i sign_plane;  // a byte per delta; bit 7 counts
  __m256i sign_x;      // in the same way
};

/// X of planes 0 to 7 and its kinds: a byte per plane, of ones or zeros for the kinds.
struct PlaneKinds {
  static PlaneKinds of(__m256i planes) {
    const __m256i zero = _mm256_setzero_si256();
    PlaneKinds kinds;
    kinds.x = _mm256_xor_si256(planes, _mm256_srli_epi64(planes, 8));
    kinds.x_zero = _mm256_cmpeq_epi8(kinds.x, zero);
    kinds.plane_zero = _mm256_andnot_si256(kinds.x_zero, _mm256_cmpeq_epi8(planes, zero));
    kinds.all_ones = _mm256_cmpeq_epi8(kinds.x, broadcast(0xFE));
    return kinds;
  }

  /// Where the code of a plane has five bits.
  __m256i five_bits() const { return _mm256_or_si256(plane_zero, all_ones); }

  __m256i x;
  __m256i x_zero;
  __m256i plane_zero;  // the plane is zero and X is not
  __m256i all_ones;
};

/// Turns `block_count` blocks (rounded up to whole vectors) of packed words into code bytes.
///
/// Three loops: processors look only so many instructions ahead, and so they overlap several steps
/// of a short loop, but not of one that does it all.
void code_blocks(const std::uint8_t* packed, std::size_t block_count, __m256i flip,
                 EncodedBlocks& out) {
  for (std::size_t b = 0; b < block_count; b += blocks_per_vector) {
    const auto blocks = FourBlocks::from(packed + b * fast_block_size, flip);
    store(&out.codes[b], blocks.planes);
    store(&out.sign_x[b], blocks.sign_x);
  }
  for (std::size_t b = 0; b < block_count; b += blocks_per_vector) {
    const auto kinds = PlaneKinds::of(load(&out.codes[b]));
    const __m256i five_bits = kinds.five_bits();
    // Five bits with the value 1 for a zero plane, 0 for all ones, which come first.
    store(&out.codes[b], _mm256_sub_epi8(_mm256_andnot_si256(five_bits, codes_of_x(kinds.x)),
                                         _mm256_andnot_si256(kinds.all_ones, kinds.plane_zero)));
    const __m256i unused =
        _mm256_or_si256(kinds.x_zero, _mm256_and_si256(five_bits, broadcast(0xE0)));
    store(&out.used[b], _mm256_andnot_si256(unused, broadcast(0xFF)));
  }
  for (std::size_t b = 0; b < block_count; b += blocks_per_vector) {
    const __m256i codes = load(&out.codes[b]);
    const __m256i used = load(&out.used[b]);
    const __m256i zero = _mm256_setzero_si256();
    const __m256i x_zero = _mm256_cmpeq_epi8(used, zero);
    const __m256i zero_before = _mm256_srli_epi64(x_zero, 8);
    const __m256i two_zero_before = _mm256_and_si256(zero_before, _mm256_srli_epi64(x_zero, 16));
    const __m256i zero_after =
        _mm256_or_si256(_mm256_slli_epi64(x_zero, 8), _mm256_set1_epi64x(0xFF));
    const __m256i irregular = _mm256_or_si256(
        _mm256_and_si256(load(&out.sign_x[b]), broadcast(0x80)),
        _mm256_andnot_si256(x_zero, _mm256_or_si256(two_zero_before, _mm256_set1_epi64x(0xFFFF))));
    const __m256i regular = _mm256_cmpeq_epi64(irregular, zero);

    // A zero X alone has a code of two bits. From plane p on, the run up to plane 8 has 9 - p.
    const __m256i run_start = _mm256_andnot_si256(zero_before, x_zero);
    const __m256i run_codes = _mm256_min_epu8(_mm256_or_si256(zero_after, broadcast(0x01)),
                                              _mm256_set1_epi64x(0x0F0E0D0C0B0A0908));
    const __m256i run_used =
        _mm256_and_si256(_mm256_or_si256(zero_after, broadcast(0x03)), broadcast(0x3F));
    const __m256i regular_codes = _mm256_or_si256(codes, _mm256_and_si256(run_start, run_codes));
    const __m256i regular_used = _mm256_or_si256(used, _mm256_and_si256(run_start, run_used));
    const __m256i bases = _mm256_slli_epi64(load(packed + b * fast_block_size), 56);
    const __m256i base_used = _mm256_slli_epi64(broadcast(0xFF), 56);
    store(&out.codes[b],
          _mm256_blendv_epi8(codes, _mm256_or_si256(bases, _mm256_srli_epi64(regular_codes, 8)),
                             regular));
    store(&out.used[b],
          _mm256_blendv_epi8(used, _mm256_or_si256(base_used, _mm256_srli_epi64(regular_used, 8)),
                             regular));
    out.regular[b / blocks_per_vector] =
        static_cast<std::uint8_t>(_mm256_movemask_pd(_mm256_castsi256_pd(regular)));
  }
}

/// The codes of the zero X among planes 0 to 7, and which bits of their code bytes count: for a
/// run, those of its first plane. Indexed by a mask with bit 7 - p set where X[p] is zero.
struct ZeroPlanesTable {
  std::uint64_t codes[256];
  std::uint64_t used[256];
};

constexpr ZeroPlanesTable make_zero_planes_table(bool sign_is_zero) {
  ZeroPlanesTable table{};
  for (unsigned zero_planes = 0; zero_planes < 256; ++zero_planes) {
    const auto is_zero = [&](int p) {
      return p < 8 ? (zero_planes >> (7 - p) & 1) != 0 : sign_is_zero;
    };
    for (int plane = 0; plane < 8; ++plane) {
      std::uint64_t code = 0;
      std::uint64_t used = 0;
      if (is_zero(plane)) {
        unsigned run = 1;
        for (int next = plane + 1; next <= 8 && is_zero(next); ++next) ++run;
        const bool first = plane == 0 || !is_zero(plane - 1);
        const CodeBits zeros = code_of_zeros(run, common_code_sizes);
        code = first ? zeros.code : 0;
        used = first ? (1U << zeros.bits) - 1 : 0;
      }
      table.codes[zero_planes] |= code << (8 * (7 - plane));
      table.used[zero_planes] |= used << (8 * (7 - plane));
    }
  }
  return table;
}

constexpr ZeroPlanesTable zeros_below_zero_sign = make_zero_planes_table(true);
constexpr ZeroPlanesTable zeros_below_nonzero_sign = make_zero_planes_table(false);

/// The codes of planes by their X, of which the first delta is least significant.
struct SignCodes {
  CodeBits by_x[128];
};
constexpr SignCodes sign_codes = [] {
  SignCodes codes{};
  for (unsigned x = 1; x < 128; ++x) {
    unsigned turned = 0;
    for (int i = 0; i < 7; ++i) turned = turned << 1 | (x >> i & 1);
    codes.by_x[x] = code_of_plane(turned, false, common_code_sizes);
  }
  return codes;
}();

/// The code of plane 8 from its X, itself and the mask of the zero X below.
inline CodeBits sign_code(unsigned x, unsigned plane, unsigned zero_planes) {
  if (x == 0) {
    const bool continues_run = (zero_planes & 1) != 0;
    return continues_run ? CodeBits{} : code_of_zeros(1, common_code_sizes);
  }
  if (plane == 0 && x != 0x7F) return {prefix_plane_zero, short_prefix_bits};
  return sign_codes.by_x[x];
}

/// X of plane 8 and the plane itself, the first delta least significant.
struct SignPlane {
  static SignPlane of(const std::uint8_t* packed, __m256i flip) {
    const __m128i words = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(packed));
    const __m128i next_words = _mm_srli_epi64(words, 8);
    const __m128i flip_words = _mm256_castsi256_si128(flip);
    const auto plane = static_cast<unsigned>(_mm_movemask_epi8(
        _mm_cmpgt_epi8(_mm_xor_si128(words, flip_words), _mm_xor_si128(next_words, flip_words))));
    const auto plane_7 = static_cast<unsigned>(_mm_movemask_epi8(_mm_sub_epi8(next_words, words)));
    return {(plane ^ plane_7) & 0x7F, plane & 0x7F};
  }

  unsigned x;
  unsigned plane;
};

/// Appends the codes of a block that is not regular.
[[gnu::always_inline]] inline void write_irregular(const std::uint8_t* packed, std::uint64_t codes,
                                                   std::uint64_t used, __m256i flip,
                                                   CodeWriter& out) {
  const auto zero_planes = static_cast<unsigned>(_pext_u64(~used, 0x0101010101010101));
  const SignPlane sign_plane = SignPlane::of(packed, flip);
  const ZeroPlanesTable& zeros =
      sign_plane.x == 0 ? zeros_below_zero_sign : zeros_below_nonzero_sign;
  used |= zeros.used[zero_planes];
  const std::uint64_t bits = _pext_u64(codes | zeros.codes[zero_planes], used);
  const auto count = static_cast<unsigned>(_mm_popcnt_u64(used));
  const CodeBits sign = sign_code(sign_plane.x, sign_plane.plane, zero_planes);
  const std::uint64_t base = packed[0];
  const auto sign_bits = static_cast<unsigned>(sign.bits);
  if (fast_word_bits + count + sign_bits <= 64) {
    out.put((base << count | bits) << sign_bits | sign.code, fast_word_bits + count + sign_bits);
  } else {  // in two halves
    out.put(base << (count - 32) | bits >> 32, fast_word_bits + count - 32);
    out.put((bits & 0xFFFFFFFF) << sign_bits | sign.code, 32 + sign_bits);
  }
}

/// Writes the codes of a chunk's blocks.
void write_blocks(const std::uint8_t* packed, std::size_t block_count, const EncodedBlocks& blocks,
                  __m256i flip, CodeWriter& writer) {
  CodeWriter out = writer;  // a copy, which nothing that is written can be part of
  const auto write_regular = [&](std::size_t b) {
    const std::uint64_t used = blocks.used[b];
    out.put(_pext_u64(blocks.codes[b], used), static_cast<std::uint64_t>(_mm_popcnt_u64(used)));
  };
  for (std::size_t first = 0; first < block_count; first += blocks_per_vector) {
    const unsigned regular = blocks.regular[first / blocks_per_vector];
    const std::size_t count = min(block_count - first, blocks_per_vector);
    if (regular == 0b1111 && count == blocks_per_vector) [[likely]] {
      for (std::size_t i = 0; i < blocks_per_vector; ++i) write_regular(first + i);
      continue;
    }
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t b = first + i;
      if ((regular >> i & 1) != 0) {
        write_regular(b);
      } else {
        write_irregular(packed + b * fast_block_size, blocks.codes[b], blocks.used[b], flip, out);
      }
    }
  }
  writer = out;
}

/// What PlaneWriter is for other settings.
class PlaneWriter8x8 {
 public:
  using Word = std::uint8_t;
  static constexpr std::size_t blocks = blocks_per_vector;
  static constexpr int slots = fast_block_size;

  PlaneWriter8x8(const Parameters& p, std::uint8_t* out) : flip_(sign_flip(p)), writer_(out) {}

  void put(const std::uint8_t* packed, std::size_t block_count) {
    code_blocks(packed, block_count, flip_, blocks_);
    write_blocks(packed, block_count, blocks_, flip_, writer_);
  }

  std::uint64_t finish() {
    writer_.finish();
    return writer_.bits();
  }

 private:
  __m256i flip_;
  CodeWriter writer_;
  EncodedBlocks blocks_;
};

// ---- Counting: that needs no codes, only which planes have which kind of symbol.

/// The bits of a block's base and planes 0 to 7, those of five bits taken as 8, by the mask of the
/// zero X; plane 8 included if its X is zero.
struct BlockBitsTable {
  std::uint8_t below_zero_sign[256];
  std::uint8_t below_nonzero_sign[256];
};

constexpr BlockBitsTable block_bits = [] {
  BlockBitsTable table{};
  for (unsigned zero_planes = 0; zero_planes < 256; ++zero_planes) {
    const int bits = fast_word_bits + 8 * std::popcount(~zero_planes & 0xFF);
    const int sign_bits = (zero_planes & 1) != 0 ? 0 : 2;  // a run's, or its own
    table.below_zero_sign[zero_planes] = static_cast<std::uint8_t>(
        bits + std::popcount(zeros_below_zero_sign.used[zero_planes]) + sign_bits);
    table.below_nonzero_sign[zero_planes] =
        static_cast<std::uint8_t>(bits + std::popcount(zeros_below_nonzero_sign.used[zero_planes]));
  }
  return table;
}();

/// What PlaneCounter is for other settings.
class PlaneCounter8x8 {
 public:
  using Word = std::uint8_t;
  static constexpr std::size_t blocks = blocks_per_vector;
  static constexpr int slots = fast_block_size;

  explicit PlaneCounter8x8(const Parameters& p) : flip_(sign_flip(p)) {}

  /// Blocks that fill up the last vector have words that are all equal.
  void put(const std::uint8_t* packed, std::size_t block_count) {
    std::uint64_t bits = bits_;  // a copy, which stays in a register
    std::size_t b = 0;
    for (; b < block_count; b += blocks_per_vector) {
      const auto blocks = FourBlocks::from(packed + b * fast_block_size, flip_);
      const auto mask_of = [](__m256i bytes) {
        return static_cast<std::uint32_t>(_mm256_movemask_epi8(bytes));
      };
      const auto kinds = PlaneKinds::of(blocks.planes);
      const std::uint32_t zero_planes = mask_of(kinds.x_zero);
      const std::uint32_t sign_x = mask_of(blocks.sign_x);
      bits -= 3 * static_cast<std::uint64_t>(_mm_popcnt_u32(mask_of(kinds.five_bits())));
      for (int place = 0; place < 32; place += 8) {
        bits += block_bits.below_zero_sign[zero_planes >> place & 0xFF];
      }
      if (sign_x == 0) continue;
      const std::uint32_t sign_plane = mask_of(blocks.sign_plane);
      for (int place = 0; place < 32; place += 8) {
        const std::uint32_t x = sign_x >> place & 0xFF;
        if (x == 0) continue;
        const std::uint32_t zeros = zero_planes >> place & 0xFF;
        bits += block_bits.below_nonzero_sign[zeros] - block_bits.below_zero_sign[zeros];
        bits += static_cast<std::uint64_t>(sign_code(x, sign_plane >> place & 0xFF, zeros).bits);
      }
    }
    bits_ = bits - (b - block_count) * block_bits.below_zero_sign[0xFF];
  }

  std::uint64_t bits() const { return bits_; }

 private:
  __m256i flip_;
  std::uint64_t bits_ = 0;
};

}  // namespace
}  // namespace ebpc::avx2
