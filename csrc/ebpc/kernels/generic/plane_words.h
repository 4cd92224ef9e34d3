// Bit planes back to words, several blocks side by side: the reverse of what planes.h does
// with them.
//
// Plain C++, compiled once for every instruction set that includes it: vectors.h says how.

#pragma once

#include "ebpc/kernels/generic/jobs.h"
#include "ebpc/kernels/generic/planes.h"
#include "ebpc/parameters.h"

namespace ebpc::EBPC_KERNEL {
namespace {

/// X of planes by their codes of 8 bits, each one bit too far to the left: uncompressed, or one or
/// two ones. Code 0 stands for a zero plane. Where an index is past the end of the plane, the
/// lowest bit is set.
inline Qwords doubled_x_of_eights(Qwords codes) {
  constexpr std::uint64_t every_byte = lane_ones<8>;
  const auto mask_of = [codes](std::uint8_t bit) {
    const Vector<std::uint8_t> bits = vector_cast<std::uint8_t>(codes) & bit;
    return vector_cast<std::uint64_t>(is_equal(bits, all_elements(bit)));
  };
  // One or two ones, shifted to their place.
  Qwords x = (~codes & 8 * every_byte) << 3 | 0x80 * every_byte;
  for (int step = 0; step < 3; ++step) {
    const auto bit = static_cast<std::uint8_t>(1 << step);
    const Qwords moved = x >> bit & (0xFF >> bit) * every_byte;
    x ^= (x ^ moved) & mask_of(bit);
  }
  const Qwords is_raw = mask_of(0x80);
  const Qwords raw = codes << 1 & 0xFE * every_byte;
  return (raw & is_raw) | (x & mask_of(0x10) & ~is_raw);
}

/// The same of one code, and where it belongs.
constexpr std::uint8_t x_of_eight(std::uint8_t code) {
  if (code >= 0x80 || code == 0) return code & 0x7F;
  return static_cast<std::uint8_t>(first_code_of(code, 8, common_code_sizes).x);
}

/// Whether its index is past the end of the plane.
constexpr bool has_bad_index(std::uint8_t code) { return code == 0x1F || (code & 0xFE) == 0x16; }

/// Decodes blocks of XORed bit planes as they are read: lanes with their most significant byte
/// first, those of a block side by side. If `eights`, codes of 8 bits stand for the planes.
template <class WordType, int lane_bits, bool eights>
class PlaneWords {
 public:
  using Word = WordType;
  using Group = PlaneGroup<Word, lane_bits>;

  static constexpr std::size_t bytes_read_behind = Group::planes * lane_bits / 8;
  static constexpr std::size_t words_written_behind = Group::slots;

  explicit PlaneWords(const Parameters& p)
      : block_size_(p.block_size),
        base_sent_(p.base == Base::sent),
        is_signed_(p.is_signed),
        word_bits_(p.word_bits),
        block_bytes_(static_cast<std::size_t>(p.word_bits + 1) * lane_bits / 8) {
    // The top plane adds nothing to words of W bits.
    for (int q = 0; q < Group::qwords; ++q) used_[q] = Group::first_planes(p.word_bits, q);
  }

  std::size_t block_bytes() const { return block_bytes_; }

  /// Decodes blocks; bases[i] is the first word of block i, if it was sent. `last` is the word
  /// before, and afterwards the last one. May read and write behind the end. False if a code is
  /// malformed.
  bool decode(const std::uint8_t* planes, const Word* bases, std::size_t block_count, Word* words,
              Word& last) const {
    Qwords malformed{};
    for (std::size_t b = 0; b < block_count; b += Group::blocks) {
      const std::size_t count = min(block_count - b, Group::blocks);
      decode_some(planes + b * block_bytes_, bases + b, count,
                  words + b * static_cast<std::size_t>(block_size_), last, malformed);
    }
    if constexpr (!eights) return true;
    // The top planes are no part of words.
    bool ok = !is_any(malformed & lane_ones<8>);
    for (std::size_t b = 0; b < block_count; ++b)
      ok &= !has_bad_index(planes[b * block_bytes_ + static_cast<std::size_t>(word_bits_)]);
    return ok;
  }

 private:
  static constexpr int qword_words = 8 / sizeof(Word);
  static constexpr int word_bits = 8 * sizeof(Word);
  static constexpr int word_qwords = Group::slots / qword_words;  // of a block's words

  /// `count` blocks, at most as many as a vector has.
  void decode_some(const std::uint8_t* planes, const Word* bases, std::size_t count, Word* words,
                   Word& last, Qwords& malformed) const {
    Qwords dbp[Group::qwords];
    load_planes(planes, count, dbp, malformed);
    Qwords bytes[sizeof(Word)][Group::groups];
    for (std::size_t k = 0; k < sizeof(Word); ++k) {
      Qwords columns[Group::groups];
      Group::gather(dbp + k * 8 / Group::lanes, columns);
      for (int group = 0; group < Group::groups; ++group)
        bytes[k][group] = antitranspose(columns[group]);
    }
    Qwords sums[word_qwords];
    for (int group = 0; group < Group::groups; ++group)
      words_from_bytes(bytes, group, sums + group * static_cast<int>(sizeof(Word)));
    add_up(sums);

    alignas(vector_bytes) Word blocks[Group::blocks][Group::slots];
    if (base_sent_) {
      Qwords start{};
      for (std::size_t i = 0; i < count; ++i)
        start[i] = std::uint64_t{bases[i]} * lane_ones<word_bits>;
      store_words(sums, start, blocks);
    } else {
      Qwords start{};
      Word word = last;
      for (std::size_t i = 0; i < count; ++i) {
        start[i] = std::uint64_t{word} * lane_ones<word_bits>;
        word = static_cast<Word>(word + (sums[word_qwords - 1][i] >> (64 - word_bits)));
      }
      last = word;
      store_words(sums, start, blocks);
    }
    for (std::size_t i = 0; i < count; ++i, words += block_size_) {
      if (block_size_ == Group::slots) {
        std::memcpy(words, blocks[i], sizeof blocks[i]);
      } else {
        std::memcpy(words, blocks[i] + Group::slots - block_size_,
                    static_cast<std::size_t>(block_size_) * sizeof(Word));
      }
    }
  }

  /// Loads XORed planes and takes the XOR back.
  void load_planes(const std::uint8_t* planes, std::size_t count, Qwords (&dbp)[Group::qwords],
                   Qwords& malformed) const {
    for (int q = 0; q < Group::qwords; ++q) {
      Qwords x{};
      for (std::size_t i = 0; i < Group::blocks; ++i)
        x[i] = load_big_endian(planes + (i < count ? i : 0) * block_bytes_ + 8 * q);
      x &= used_[q];
      if constexpr (eights) {
        x = doubled_x_of_eights(x);
        malformed |= x;
        x >>= 1;
      }
      if (q > 0) x ^= dbp[q - 1] << (64 - lane_bits);
      for (int shift = lane_bits; shift < 64; shift *= 2) x ^= x >> shift;
      dbp[q] = x;
    }
  }

  /// 8 words of which byte k is in bytes[k][group], the first one least significant.
  static void words_from_bytes(const Qwords (&bytes)[sizeof(Word)][Group::groups], int group,
                               Qwords* words) {
    if constexpr (sizeof(Word) == 1) {
      words[0] = bytes[0][group];
    } else {
      for (int q = 0; q < static_cast<int>(sizeof(Word)); ++q) {
        words[q] = Qwords{};
        for (std::size_t k = 0; k < sizeof(Word); ++k) {
          words[q] |= spread_bytes(bytes[k][group] >> (q * 8 * qword_words)) << (8 * k);
        }
      }
    }
  }

  /// The lowest bytes to words.
  static Qwords spread_bytes(Qwords x) {
    if constexpr (sizeof(Word) == 2) {
      x &= 0xFFFFFFFF;
      x = (x | x << 16) & 0x0000FFFF0000FFFF;
      return (x | x << 8) & 0x00FF00FF00FF00FF;
    } else {
      return (x & 0xFF) | (x & 0xFF00) << 24;
    }
  }

  /// Every word becomes the sum of those up to it.
  static void add_up(Qwords (&sums)[word_qwords]) {
    for (int q = 0; q < word_qwords; ++q) {
      Qwords x = sums[q];
      if (q > 0) x = add(x, sums[q - 1] >> (64 - word_bits));
      for (int shift = word_bits; shift < 64; shift *= 2) x = add(x, x << shift);
      sums[q] = x;
    }
  }

  static Qwords add(Qwords a, Qwords b) {
    return vector_cast<std::uint64_t>(vector_cast<Word>(a) + vector_cast<Word>(b));
  }

  void store_words(const Qwords (&sums)[word_qwords], Qwords start,
                   Word (&blocks)[Group::blocks][Group::slots]) const {
    for (int q = 0; q < word_qwords; ++q) {
      Qwords x = add(sums[q], start);
      if ((Group::planes - word_bits_) > 0) x = extend(x);
      for (std::size_t i = 0; i < Group::blocks; ++i)
        store_qword(blocks[i] + q * qword_words, x[i]);
    }
  }

  /// Words of fewer bits to their type.
  Qwords extend(Qwords x) const {
    const Vector<Word> left = vector_cast<Word>(x) << (Group::planes - word_bits_);
    if (!is_signed_) return vector_cast<std::uint64_t>(left >> (Group::planes - word_bits_));
    using Signed = std::make_signed_t<Word>;
    return vector_cast<std::uint64_t>(vector_cast<Signed>(left) >> (Group::planes - word_bits_));
  }

  static void store_qword(Word* to, std::uint64_t x) {
    if constexpr (std::endian::native == std::endian::little) {
      std::memcpy(to, &x, sizeof x);
    } else {
      for (int i = 0; i < qword_words; ++i) to[i] = static_cast<Word>(x >> (i * word_bits & 63));
    }
  }

  int block_size_;
  bool base_sent_;
  bool is_signed_;
  int word_bits_;
  std::size_t block_bytes_;
  std::uint64_t used_[Group::qwords];
};

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
