// Bit planes to words, for every setting.

#pragma once

#include <algorithm>
#include <array>

#include "ebpc/kernels/avx512/plane_rows.h"
#include "ebpc/parameters.h"

namespace ebpc::avx512 {
namespace {

/// Sums of words and all words before them, within 128 bits or across them.
template <int word_bytes>
struct PrefixSum {
  using W = Lanes<8 * word_bytes>;

  /// Sums over neighbouring `bytes` bytes, 8 to 64.
  template <int bytes>
  static __m512i within(__m512i x) {
    if constexpr (bytes == 8) {
      x = W::add(x, _mm512_slli_epi64(x, 8));
      x = W::add(x, _mm512_slli_epi64(x, 16));
      return W::add(x, _mm512_slli_epi64(x, 32));
    } else {
      if constexpr (word_bytes <= 1) x = W::add(x, _mm512_bslli_epi128(x, 1));
      if constexpr (word_bytes <= 2) x = W::add(x, _mm512_bslli_epi128(x, 2));
      x = W::add(x, _mm512_bslli_epi128(x, 4));
      x = W::add(x, _mm512_bslli_epi128(x, 8));
      if constexpr (bytes >= 32) {
        x = W::add(x, _mm512_maskz_permutexvar_epi8(0xFFFF0000FFFF0000,
                                                    load_512(last_word_of[0].data()), x));
      }
      if constexpr (bytes >= 64) {
        x = W::add(x, _mm512_maskz_permutexvar_epi8(0xFFFFFFFF00000000,
                                                    load_512(last_word_of[1].data()), x));
      }
      return x;
    }
  }

  /// The last word, everywhere.
  static __m512i last(__m512i x) {
    return _mm512_permutexvar_epi8(load_512(last_word_of[2].data()), x);
  }

 private:
  /// The last word of the lower half of every 32 bytes; of all 64; of the vector.
  static constexpr auto last_word_of = [] {
    std::array<std::array<std::uint8_t, 64>, 3> indices{};
    for (int i = 0; i < 64; ++i) {
      const int byte = i % word_bytes;
      indices[0][static_cast<std::size_t>(i)] =
          static_cast<std::uint8_t>(i / 32 * 32 + 16 - word_bytes + byte);
      indices[1][static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(32 - word_bytes + byte);
      indices[2][static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(64 - word_bytes + byte);
    }
    return indices;
  }();
};

/// Turns the planes of a stream's blocks into words: for PlanePass.
template <class Syntax>
class VectorWords {
 public:
  using Group = typename Syntax::Group;
  using Word = typename Group::Word;
  static constexpr std::size_t blocks_at_once = Group::vector_blocks;

  explicit VectorWords(const Parameters& p)
      : block_size_(p.block_size),
        is_whole_(p.block_size == Group::slots),
        fills_type_(p.word_bits == 8 * Group::word_bytes),
        low_(W::set(low_bits(p.word_bits))),
        sign_(W::set(p.is_signed ? std::uint64_t{1} << (p.word_bits - 1) : 0)) {}

  /// Words of blocks whose planes and, if they were sent, bases are given. 64 bytes after the last
  /// block's planes and its base are read. False if one of the planes is malformed.
  bool decode(const std::uint8_t* lanes, const Word* bases, std::size_t blocks, Word* out) const {
    if constexpr (Syntax::base_sent) return decode_sent(lanes, bases, blocks, out);
    decode_reused(lanes, blocks, out);
    return true;
  }

 private:
  using W = Lanes<8 * Group::word_bytes>;
  using Sum = PrefixSum<Group::word_bytes>;
  static constexpr std::size_t vector_words = 64 / Group::word_bytes;
  static constexpr int segment_bytes = std::min(64, Group::block_bytes);

  bool decode_sent(const std::uint8_t* lanes, const Word* bases, std::size_t blocks,
                   Word* out) const {
    std::uint64_t malformed = 0;
    for (std::size_t block = 0; block < blocks; block += Group::vector_blocks) {
      __m512i carry = _mm512_setzero_si512();
      for (int part = 0; part < Group::block_vectors; ++part) {
        // The base takes the place of the bit in front of each plane.
        __m512i words = deltas(columns(lanes, part, malformed));
        if (part == 0) {
          words = _mm512_mask_permutexvar_epi8(
              words, Group::base_mask, load_512(Group::gather_bases.data()), load_512(bases));
        }
        words = Sum::template within<segment_bytes>(words);
        if constexpr (Group::block_vectors > 1) {
          words = W::add(words, carry);
          carry = Sum::last(words);
        }
        out = append(out, extend(words), part);
      }
      bases += Group::vector_blocks;
      lanes += Group::vector_blocks * Group::block_bytes;
    }
    return malformed == 0;
  }

  void decode_reused(const std::uint8_t* lanes, std::size_t blocks, Word* out) const {
    Word* const first = out;
    std::uint64_t malformed = 0;
    __m512i carry = _mm512_setzero_si512();
    for (std::size_t block = 0; block < blocks; block += Group::vector_blocks) {
      for (int part = 0; part < Group::block_vectors; ++part) {
        const __m512i delta = deltas(columns(lanes, part, malformed));
        if (is_whole_) {
          const __m512i words = W::add(Sum::template within<64>(delta), carry);
          carry = Sum::last(words);
          store_512(out, extend(words));
          out += vector_words;
        } else {
          out = append(out, delta, part);
        }
      }
      lanes += Group::vector_blocks * Group::block_bytes;
    }
    if (!is_whole_) sum_all(first, out);
  }

  /// Turns all deltas into words.
  void sum_all(Word* words, const Word* end) const {
    __m512i carry = _mm512_setzero_si512();
    for (; words < end; words += vector_words) {
      const __m512i sum = W::add(Sum::template within<64>(load_512(words)), carry);
      carry = Sum::last(sum);
      store_512(words, extend(sum));
    }
  }

  /// The first `count` slots of every block, those of them in one vector.
  static std::uint64_t slots(int count, int part) {
    std::uint64_t slots = low_bits(count);
    if constexpr (Group::block_vectors == 1) {
      for (int bits = Group::slots; bits < 64; bits *= 2) slots |= slots << (bits & 63);
    }
    slots >>= part * static_cast<int>(vector_words) & 63;
    return slots & low_bits(vector_words);
  }

  /// 8 bits of 8 planes in each 64-bit lane. `malformed` gets bits of codes that are none.
  [[gnu::always_inline]] static __m512i columns(const std::uint8_t* lanes, int part,
                                                std::uint64_t& malformed) {
    // A permutation of two vectors takes five times as long as one of one.
    const __m512i indices = load_512(Group::gather_columns[at(part)].data());
    __m512i columns = _mm512_permutexvar_epi8(indices, load_512(lanes));
    for (int i = 1; i < Group::block_vectors; ++i) {
      columns = _mm512_mask_permutexvar_epi8(columns, Group::gather_masks[at(part)][at(i)], indices,
                                             load_512(lanes + 64 * i));
    }
    if constexpr (Syntax::eights) {
      const std::uint64_t coded = ~_mm512_movepi8_mask(columns);
      columns =
          _mm512_mask_permutexvar_epi8(columns, coded, columns, load_512(planes_of_codes.by_code));
      malformed |= coded & _mm512_movepi8_mask(columns);
    }
    return columns;
  }

  /// Words from columns of planes. The top planes are of no use: sums are modulo 2^W.
  static __m512i deltas(__m512i columns) {
    // A column of 8 planes becomes a byte of a delta: the reverse of what encoding does.
    __m512i delta =
        _mm512_gf2p8affine_epi64_epi8(_mm512_set1_epi64(0x0102040810204080), columns, 0);
    if constexpr (Group::word_bytes > 1) {
      delta = _mm512_permutexvar_epi8(load_512(Group::gather_words.data()), delta);
    }
    // Each bit is the XOR of all bits below: in its byte, and the parities of the lower bytes.
    const __m512i within =
        _mm512_gf2p8affine_epi64_epi8(delta, _mm512_set1_epi64(0x0103070F1F3F7FFF), 0);
    if constexpr (Group::word_bytes == 1) return within;
    const __m512i parity = _mm512_gf2p8affine_epi64_epi8(delta, _mm512_set1_epi8(-1), 0);
    if constexpr (Group::word_bytes == 2) {
      return _mm512_xor_si512(within, _mm512_slli_epi16(parity, 8));
    } else {
      __m512i below = _mm512_slli_epi32(parity, 8);
      below = _mm512_xor_si512(below, _mm512_slli_epi32(below, 8));
      below = _mm512_xor_si512(below, _mm512_slli_epi32(below, 16));
      return _mm512_xor_si512(within, below);
    }
  }

  /// Stores the words of all slots that blocks have.
  Word* append(Word* out, __m512i words, int part) const {
    if (is_whole_) {
      store_512(out, words);
      return out + vector_words;
    }
    const std::uint64_t mask = slots(block_size_, part);
    using L = WordLanes<Word>;
    store_512(out, L::compress(static_cast<typename L::Mask>(mask), words));
    return out + std::popcount(mask);
  }

  /// The low W bits as a word of the type.
  __m512i extend(__m512i words) const {
    if (fills_type_) return words;
    const __m512i bits = _mm512_and_si512(words, low_);
    return W::sub(_mm512_xor_si512(bits, sign_), sign_);
  }

  int block_size_;
  bool is_whole_;    // blocks fill their slots
  bool fills_type_;  // words fill their type
  __m512i low_;
  __m512i sign_;
};

}  // namespace
}  // namespace ebpc::avx512
