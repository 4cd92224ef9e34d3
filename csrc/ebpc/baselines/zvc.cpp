// Zero-value compression (Rhu et al., HPCA 2018): a mask with one bit a word, then the non-zero
// words in full.

#include "ebpc/baselines/coder.h"

namespace ebpc {
namespace {

/// The first word's bit comes first in the stream, but is the mask's lowest.
constexpr std::uint64_t reversed_bits(std::uint64_t x) {
  x = (x >> 1 & 0x5555555555555555) | (x & 0x5555555555555555) << 1;
  x = (x >> 2 & 0x3333333333333333) | (x & 0x3333333333333333) << 2;
  x = (x >> 4 & 0x0F0F0F0F0F0F0F0F) | (x & 0x0F0F0F0F0F0F0F0F) << 4;
  return byte_swap(x);
}

struct Zvc {
  template <class Word, class Sink>
  static void encode(const Parameters& p, std::span<const Word> words, Sink& positions,
                     Sink& values) {
    for_each_mask(words, [&](std::span<const Word> part, std::uint64_t mask) {
      const int length = static_cast<int>(part.size());
      positions.put(reversed_bits(mask) >> (64 - length), length);
      put_words(part, mask, p.word_bits, values);
    });
  }

  template <class Word>
  static DecodeStatus decode(const Parameters& p, StreamView positions, StreamView values,
                             std::span<Word> words) {
    BitReader mask = reader_of(positions);
    BitReader reader = reader_of(values);
    for (Word& word : words) {
      word = mask.take(1) != 0 ? static_cast<Word>(take_word(reader, p)) : Word{0};
    }
    return check_ends(mask, positions, reader, values);
  }

  static std::uint64_t max_words(const Parameters&, StreamBits bits) { return bits.zero; }
};

}  // namespace

constinit const Baseline zvc_baseline = baseline_from<Zvc>();

}  // namespace ebpc
