// The plane stream of the AVX2 encoder, for 8-bit words in blocks of 8 behind a sent base.
//
// Vectors turn four blocks at a time into code bytes, one per bit plane, and a mask of the bits of
// these that are not part of the code; each block's bits are gathered by one `pext`; vectors merge
// the codes of four blocks. These are separate loops: in one, they are slower. Counting needs no
// codes, only which planes have which kind of symbol.
//
// Unnamed namespace: avx2.h says why.

#pragma once

#include <immintrin.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ebpc/parameters.h"

namespace ebpc::avx2 {
namespace {

constexpr unsigned fast_word_bits = 8;
constexpr std::size_t fast_block_size = 8;
constexpr std::size_t chunk_words = 4096;
constexpr std::size_t blocks_per_vector = 4;

std::uint64_t shift_left(std::uint64_t x, unsigned count) { return x << (count & 63); }

__m256i broadcast(unsigned byte) { return _mm256_set1_epi8(static_cast<char>(byte)); }

/// Blocks of one chunk between the vectors and the bit writing. Of a block's 64 bits, the most
/// significant byte belongs to plane 0. Plane 8 (the sign of the deltas) stands apart.
///
/// A block is regular if its codes fit 64 bits and its zero X are one run up to plane 8. That run's
/// code then stands where its first plane does. Of other blocks, bytes of zero X are empty.
struct CodedBlocks {
  static constexpr std::size_t capacity = chunk_words / fast_block_size + 2 * blocks_per_vector;

  alignas(32) std::uint64_t codes[capacity];    // one byte per plane
  alignas(32) std::uint64_t used[capacity];     // bits of these that are part of the code
  alignas(32) std::uint64_t regular[capacity];  // ones or zero
  std::uint8_t zero_planes[capacity];           // bit 7 - p is set where X[p] is zero
  std::uint8_t sign_x[capacity];                // X[8], the first delta least significant
  std::uint8_t sign_plane[capacity];            // plane 8 itself, in the same order
};

/// Swaps bits i and i + distance of each lane for all i in `mask`.
template <int distance>
__m256i swap_bits(__m256i x, std::int64_t mask) {
  const __m256i difference = _mm256_and_si256(_mm256_xor_si256(x, _mm256_srli_epi64(x, distance)),
                                              _mm256_set1_epi64x(mask));
  return _mm256_xor_si256(x, _mm256_xor_si256(difference, _mm256_slli_epi64(difference, distance)));
}

/// Transposes 8 x 8 bits about the other diagonal: bit p of byte i goes to bit 7 - i of byte 7 - p.
__m256i antitranspose(__m256i x) {
  x = swap_bits<9>(x, 0x0055005500550055);
  x = swap_bits<18>(x, 0x0000333300003333);
  return swap_bits<36>(x, 0x000000000F0F0F0F);
}

/// Codes of X with one 1, or two adjacent ones, from nibbles: X has seven bits, from 7 to 1. The
/// marker makes a sum of two codes overflow into bit 7, as does `several`: then X goes as it is.
constexpr int marker = 0x60;
constexpr int several = 0x80;
constexpr int single(int index) { return marker | 0b11000 | index; }
constexpr int pair(int index) { return marker | 0b10000 | index; }

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

void store_mask(std::uint8_t* out, __m256i bytes) {
  const auto mask = static_cast<std::uint32_t>(_mm256_movemask_epi8(bytes));
  std::memcpy(out, &mask, sizeof mask);
}

/// The planes of four blocks of packed words, in 64 bits each, and the kinds of their X.
struct FourBlocks {
  /// `flip` is what sign_flip gives.
  static FourBlocks from(const std::uint8_t* packed, __m256i flip) {
    const __m256i zero = _mm256_setzero_si256();
    const __m256i seven_bytes = _mm256_set1_epi64x(0x00FFFFFFFFFFFFFF);
    const __m256i words = _mm256_load_si256(reinterpret_cast<const __m256i*>(packed));
    const __m256i next_words = _mm256_srli_epi64(words, 8);
    const __m256i deltas = _mm256_and_si256(_mm256_sub_epi8(next_words, words), seven_bytes);
    // Bit 8 of the deltas; the comparison is signed.
    FourBlocks blocks;
    blocks.sign_plane = _mm256_and_si256(
        _mm256_cmpgt_epi8(_mm256_xor_si256(words, flip), _mm256_xor_si256(next_words, flip)),
        seven_bytes);
    blocks.sign_x = _mm256_xor_si256(blocks.sign_plane, deltas);
    const __m256i planes = antitranspose(deltas);
    blocks.x = _mm256_xor_si256(planes, _mm256_srli_epi64(planes, 8));
    blocks.x_zero = _mm256_cmpeq_epi8(blocks.x, zero);
    blocks.plane_zero = _mm256_andnot_si256(blocks.x_zero, _mm256_cmpeq_epi8(planes, zero));
    blocks.all_ones = _mm256_cmpeq_epi8(blocks.x, broadcast(0xFE));
    return blocks;
  }

  /// Bytes of ones where the code of a plane has five bits.
  __m256i five_bits() const { return _mm256_or_si256(plane_zero, all_ones); }

  __m256i sign_plane;  // a byte per delta; bit 7 counts
  __m256i sign_x;      // in the same way
  __m256i x;           // a byte per plane, as are the following ones
  __m256i x_zero;      // bytes of ones or zeros, as are the following ones
  __m256i plane_zero;  // the plane is zero and X is not
  __m256i all_ones;
};

/// Turns `block_count` blocks (rounded up to whole vectors) of packed words into code bytes.
void code_blocks(const std::uint8_t* packed, std::size_t block_count, __m256i flip,
                 CodedBlocks& out) {
  for (std::size_t b = 0; b < block_count; b += blocks_per_vector) {
    const auto blocks = FourBlocks::from(packed + b * fast_block_size, flip);
    const __m256i five_bits = blocks.five_bits();
    // Five bits with the value 1 for a zero plane, 0 for all ones, which come first.
    __m256i codes = _mm256_sub_epi8(_mm256_andnot_si256(five_bits, codes_of_x(blocks.x)),
                                    _mm256_andnot_si256(blocks.all_ones, blocks.plane_zero));
    __m256i used = _mm256_andnot_si256(blocks.x_zero, broadcast(0xFF));
    used = _mm256_andnot_si256(_mm256_and_si256(five_bits, broadcast(0xE0)), used);

    const __m256i zero_before = _mm256_srli_epi64(blocks.x_zero, 8);
    const __m256i irregular = _mm256_or_si256(
        _mm256_or_si256(_mm256_andnot_si256(blocks.x_zero, zero_before),
                        _mm256_andnot_si256(blocks.x_zero, _mm256_set1_epi64x(0xFFFF))),
        _mm256_and_si256(blocks.sign_x, broadcast(0x80)));
    const __m256i regular = _mm256_cmpeq_epi64(irregular, _mm256_setzero_si256());
    // From plane p on, the run has 9 - p planes.
    const __m256i run_start =
        _mm256_and_si256(_mm256_andnot_si256(zero_before, blocks.x_zero), regular);
    const __m256i run_codes = _mm256_set1_epi64x(0x0F0E0D0C0B0A0908);
    codes = _mm256_or_si256(codes, _mm256_and_si256(run_start, run_codes));
    used = _mm256_or_si256(used, _mm256_and_si256(run_start, broadcast(0x3F)));

    _mm256_store_si256(reinterpret_cast<__m256i*>(&out.codes[b]), codes);
    _mm256_store_si256(reinterpret_cast<__m256i*>(&out.used[b]), used);
    _mm256_store_si256(reinterpret_cast<__m256i*>(&out.regular[b]), regular);
    store_mask(&out.zero_planes[b], blocks.x_zero);
    store_mask(&out.sign_x[b], blocks.sign_x);
    store_mask(&out.sign_plane[b], blocks.sign_plane);
  }
}

/// The codes of the zero X among planes 0 to 7, and which bits of their code bytes count: for a
/// run, those of its first plane. Indexed by CodedBlocks::zero_planes.
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
        std::uint64_t run = 1;
        for (int next = plane + 1; next <= 8 && is_zero(next); ++next) ++run;
        const bool first = plane == 0 || !is_zero(plane - 1);
        code = !first ? 0 : run == 1 ? 0b01 : 0b001'000 | (run - 2);
        used = !first ? 0 : run == 1 ? 0x03 : 0x3F;
      }
      table.codes[zero_planes] |= code << (8 * (7 - plane));
      table.used[zero_planes] |= used << (8 * (7 - plane));
    }
  }
  return table;
}

constexpr ZeroPlanesTable zeros_below_zero_sign = make_zero_planes_table(true);
constexpr ZeroPlanesTable zeros_below_nonzero_sign = make_zero_planes_table(false);

struct Code {
  std::uint64_t bits;
  unsigned count;
};

/// The code of plane 8, whose bits have the first delta least significant, from its X, itself and
/// the mask of the zero X below.
Code sign_code(unsigned x, unsigned plane, unsigned zero_planes) {
  if (x == 0) {
    const bool continues_run = (zero_planes & 1) != 0;
    return continues_run ? Code{0, 0} : Code{0b01, 2};
  }
  if (x == 0x7F) return {0b00000, 5};
  if (plane == 0) return {0b00001, 5};
  const unsigned index = _tzcnt_u32(x);
  const unsigned from_first = x >> index;
  if (from_first == 0b1) return {0b00011'000 | index, 8};
  if (from_first == 0b11) return {0b00010'000 | index, 8};
  unsigned raw = 1;
  for (int i = 0; i < 7; ++i) raw = raw << 1 | (x >> i & 1);
  return {raw, 8};
}

/// Codes of a chunk's blocks, in order, and of the block before. A block that takes more than 64
/// bits has two.
class PlaneCodes {
 public:
  PlaneCodes() { codes_[0] = 0; }

  /// Appends the codes of blocks.
  void append(const std::uint8_t* packed, std::size_t block_count, const CodedBlocks& blocks) {
    std::size_t size = size_;
    for (std::size_t b = 0; b < block_count; ++b) {
      const std::uint64_t base = packed[b * fast_block_size];
      if (blocks.regular[b] != 0) {
        const std::uint64_t used = blocks.used[b];
        const auto count = static_cast<unsigned>(_mm_popcnt_u64(used));
        codes_[size] = shift_left(base, count) | _pext_u64(blocks.codes[b], used);
        counts_[size++] = fast_word_bits + count;
      } else {
        size = append_any(base, b, blocks, size);
      }
    }
    size_ = size;
  }

  /// Writes the codes, four at a time, and keeps the rest. `bit` is where the first one goes.
  ///
  /// Each is stored as eight bytes from the byte on in which it begins. What belongs to others in
  /// that byte are bits of the code before, since none has less than 7; the last bits of a code
  /// that do not fit are stored with the one that follows.
  std::uint64_t write(std::uint8_t* out, std::uint64_t bit) {
    const __m256i swap_bytes = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8));
    const __m256i bits_of_word = _mm256_set1_epi64x(64);
    __m256i before = _mm256_set1_epi64x(static_cast<long long>(bit));
    std::size_t i = 1;
    for (; i + 4 <= size_; i += 4) {
      const __m256i codes = load(&codes_[i]);
      const __m256i counts = load(&counts_[i]);
      const __m256i in_pairs = _mm256_add_epi64(counts, _mm256_slli_si256(counts, 8));
      const __m256i first_pair = _mm256_blend_epi32(
          _mm256_setzero_si256(), _mm256_permute4x64_epi64(in_pairs, 0b01'01'01'01), 0xF0);
      const __m256i ends = _mm256_add_epi64(before, _mm256_add_epi64(in_pairs, first_pair));
      const __m256i starts = _mm256_sub_epi64(ends, counts);
      before = _mm256_permute4x64_epi64(ends, 0b11'11'11'11);

      // Shifts by 64 give zero.
      const __m256i filled = _mm256_and_si256(starts, _mm256_set1_epi64x(7));
      const __m256i justified = _mm256_sllv_epi64(codes, _mm256_sub_epi64(bits_of_word, counts));
      const __m256i previous =
          _mm256_sllv_epi64(load(&codes_[i - 1]), _mm256_sub_epi64(bits_of_word, filled));
      const __m256i stored = _mm256_shuffle_epi8(
          _mm256_or_si256(previous, _mm256_srlv_epi64(justified, filled)), swap_bytes);
      alignas(32) std::uint64_t at[4];
      _mm256_store_si256(reinterpret_cast<__m256i*>(at), _mm256_srli_epi64(starts, 3));
      const __m128i low = _mm256_castsi256_si128(stored);
      const __m128i high = _mm256_extracti128_si256(stored, 1);
      _mm_storel_epi64(reinterpret_cast<__m128i*>(out + at[0]), low);
      store_upper_half(out + at[1], low);
      _mm_storel_epi64(reinterpret_cast<__m128i*>(out + at[2]), high);
      store_upper_half(out + at[3], high);
    }
    codes_[0] = codes_[i - 1];
    std::size_t kept = 1;
    for (; i < size_; ++i, ++kept) {
      codes_[kept] = codes_[i];
      counts_[kept] = counts_[i];
    }
    size_ = kept;
    return static_cast<std::uint64_t>(_mm256_extract_epi64(before, 0));
  }

  /// Writes all, and zeros as padding.
  std::uint64_t finish(std::uint8_t* out, std::uint64_t bit) {
    // Codes of no bits, at least one of them: each stores the end of the last code once more.
    for (int i = 0; i < 4; ++i, ++size_) {
      codes_[size_] = codes_[size_ - 1];
      counts_[size_] = 0;
    }
    return write(out, bit);
  }

 private:
  static __m256i load(const std::uint64_t* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }

  /// To any address, other than _mm_storeh_pd, which is for those of doubles.
  static void store_upper_half(std::uint8_t* out, __m128i x) {
    const auto half = static_cast<std::uint64_t>(_mm_extract_epi64(x, 1));
    std::memcpy(out, &half, sizeof half);
  }

  /// Appends one or two codes for a block of any kind.
  std::size_t append_any(std::uint64_t base, std::size_t b, const CodedBlocks& blocks,
                         std::size_t size) {
    const bool sign_zero = blocks.sign_x[b] == 0;
    const ZeroPlanesTable& zeros = sign_zero ? zeros_below_zero_sign : zeros_below_nonzero_sign;
    const unsigned zero_planes = blocks.zero_planes[b];
    const std::uint64_t used = blocks.used[b] | zeros.used[zero_planes];
    const std::uint64_t bits = _pext_u64(blocks.codes[b] | zeros.codes[zero_planes], used);
    const auto count = static_cast<unsigned>(_mm_popcnt_u64(used));
    const Code sign = sign_code(blocks.sign_x[b], blocks.sign_plane[b], zero_planes);
    // In the second code, if there are two, half of what belongs to planes 0 to 7.
    const unsigned second = fast_word_bits + count + sign.count <= 64 ? 0 : 32;
    if (second != 0) {
      codes_[size] = base << (count - second) | bits >> second;
      counts_[size++] = fast_word_bits + count - second;
      codes_[size] = (bits & 0xFFFFFFFF) << sign.count | sign.bits;
      counts_[size++] = second + sign.count;
    } else {
      codes_[size] = (base << count | bits) << sign.count | sign.bits;
      counts_[size++] = fast_word_bits + count + sign.count;
    }
    return size;
  }

  static constexpr std::size_t capacity = 1 + 2 * CodedBlocks::capacity + 8;

  std::uint64_t codes_[capacity];
  std::uint64_t counts_[capacity];
  std::size_t size_ = 1;  // the first one has been written
};

/// The bits of a block's base and planes 0 to 7, those of five bits taken as 8, by the mask of the
/// zero X; plane 8 included if its X is zero.
struct BlockBitsTable {
  std::uint8_t below_zero_sign[256];
  std::uint8_t below_nonzero_sign[256];
};

constexpr BlockBitsTable block_bits = [] {
  BlockBitsTable table{};
  for (unsigned zero_planes = 0; zero_planes < 256; ++zero_planes) {
    const int nonzero_bits = 8 * std::popcount(~zero_planes & 0xFF);
    const int sign_bits = (zero_planes & 1) != 0 ? 0 : 2;  // a run's, or its own
    table.below_zero_sign[zero_planes] = static_cast<std::uint8_t>(
        fast_word_bits + nonzero_bits + std::popcount(zeros_below_zero_sign.used[zero_planes]) +
        sign_bits);
    table.below_nonzero_sign[zero_planes] = static_cast<std::uint8_t>(
        fast_word_bits + nonzero_bits + std::popcount(zeros_below_nonzero_sign.used[zero_planes]));
  }
  return table;
}();

/// The lengths of the codes that PlaneCodes::append makes of blocks of packed words. Blocks that
/// fill up the last vector have words that are all equal.
std::uint64_t count_blocks(const std::uint8_t* packed, std::size_t block_count, __m256i flip) {
  std::uint64_t bits = 0;
  std::size_t b = 0;
  for (; b < block_count; b += blocks_per_vector) {
    const auto blocks = FourBlocks::from(packed + b * fast_block_size, flip);
    const auto mask_of = [](__m256i bytes) {
      return static_cast<std::uint32_t>(_mm256_movemask_epi8(bytes));
    };
    const std::uint32_t zero_planes = mask_of(blocks.x_zero);
    const std::uint32_t sign_x = mask_of(blocks.sign_x);
    bits -= 3 * static_cast<std::uint64_t>(_mm_popcnt_u32(mask_of(blocks.five_bits())));
    for (int place = 0; place < 32; place += 8) {
      bits += block_bits.below_zero_sign[zero_planes >> place & 0xFF];
    }
    if (sign_x == 0) continue;
    const std::uint32_t sign_plane = mask_of(blocks.sign_plane);
    for (int place = 0; place < 32; place += 8) {
      const std::uint32_t x = sign_x >> place & 0xFF;
      const std::uint32_t zeros = zero_planes >> place & 0xFF;
      if (x == 0) continue;
      bits -= block_bits.below_zero_sign[zeros];
      bits += block_bits.below_nonzero_sign[zeros];
      bits += sign_code(x, sign_plane >> place & 0xFF, zeros).count;
    }
  }
  const std::size_t filled_up = b - block_count;
  return bits - filled_up * block_bits.below_zero_sign[0xFF];
}

/// What PlaneWriter is for other settings.
class PlaneWriter8x8 {
 public:
  using Word = std::uint8_t;
  static constexpr std::size_t blocks = blocks_per_vector;
  static constexpr int slots = fast_block_size;

  PlaneWriter8x8(const Parameters& p, std::uint8_t* out) : flip_(sign_flip(p)), out_(out) {}

  void put(const std::uint8_t* packed, std::size_t block_count) {
    code_blocks(packed, block_count, flip_, blocks_);
    codes_.append(packed, block_count, blocks_);
    bits_ = codes_.write(out_, bits_);
  }

  std::uint64_t finish() { return codes_.finish(out_, bits_); }

 private:
  __m256i flip_;
  std::uint8_t* out_;
  std::uint64_t bits_ = 0;
  CodedBlocks blocks_;
  PlaneCodes codes_;
};

/// What PlaneCounter is for other settings.
class PlaneCounter8x8 {
 public:
  using Word = std::uint8_t;
  static constexpr std::size_t blocks = blocks_per_vector;
  static constexpr int slots = fast_block_size;

  explicit PlaneCounter8x8(const Parameters& p) : flip_(sign_flip(p)) {}

  void put(const std::uint8_t* packed, std::size_t block_count) {
    bits_ += count_blocks(packed, block_count, flip_);
  }

  std::uint64_t bits() const { return bits_; }

 private:
  __m256i flip_;
  std::uint64_t bits_ = 0;
};

}  // namespace
}  // namespace ebpc::avx2
