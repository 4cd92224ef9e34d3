// Compressed sparse columns with relative indices (EIE; Han et al., ISCA 2016). An entry is a
// non-zero word and the number of zero words between it and the entry before, in 4 bits; where
// there are more than 15, entries of value zero stand in between, for 16 zero words each. Zero
// words after the last entry are not coded.

#include <algorithm>

#include "ebpc/baselines/coder.h"

namespace ebpc {
namespace {

constexpr int index_bits = 4;
constexpr std::uint64_t largest_index = (1 << index_bits) - 1;

struct Csc {
  template <class Word, class Sink>
  static void encode(const Parameters& p, std::span<const Word> words, Sink& positions,
                     Sink& values) {
    const auto zero = static_cast<Word>(p.zero);
    std::uint64_t zeros = 0;
    for (const Word word : words) {
      if (word == zero) {
        ++zeros;
        continue;
      }
      for (; zeros > largest_index; zeros -= largest_index + 1) {
        positions.put(largest_index, index_bits);
        values.put(bits_of(zero, p.word_bits), p.word_bits);
      }
      positions.put(zeros, index_bits);
      values.put(bits_of(word, p.word_bits), p.word_bits);
      zeros = 0;
    }
  }

  template <class Word>
  static DecodeStatus decode(const Parameters& p, StreamView positions, StreamView values,
                             std::span<Word> words) {
    BitReader indices = reader_of(positions);
    BitReader reader = reader_of(values);
    std::fill(words.begin(), words.end(), static_cast<Word>(p.zero));
    while (indices.position() < positions.bits) {
      const std::uint64_t bit = indices.position();
      const std::uint64_t index = indices.take(index_bits);
      if (index >= words.size()) {
        return {"an entry within the words that are left", "a later one", false, bit};
      }
      words[index] = static_cast<Word>(take_word(reader, p));
      words = words.subspan(index + 1);
    }
    return check_ends(indices, positions, reader, values);
  }

  static std::uint64_t max_words(const Parameters&, StreamBits) { return unlimited_words; }
};

}  // namespace

constinit const Baseline csc_baseline = baseline_from<Csc>();

}  // namespace ebpc
