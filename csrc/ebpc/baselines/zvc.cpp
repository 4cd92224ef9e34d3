// Zero-value compression (Rhu et al., HPCA 2018): a mask with one bit a word, then the non-zero
// words in full.

#include "ebpc/baselines/coder.h"

namespace ebpc {
namespace {

struct Zvc {
  template <class Word, class Sink>
  static void encode(const Parameters& p, std::span<const Word> words, Sink& positions,
                     Sink& values) {
    for_each_mask(p, words, [&](std::span<const Word> part, std::uint64_t mask) {
      const int length = static_cast<int>(part.size());
      positions.put(mask_code(mask, length), length);
      put_words(part, mask, p.word_bits, values);
    });
  }

  static StreamBits count(const Parameters& p, WordSpan words) {
    return {words.count, count_nonzero(p, words) * static_cast<std::uint64_t>(p.word_bits)};
  }

  template <class Word>
  static DecodeStatus decode(const Parameters& p, StreamView positions, StreamView values,
                             std::span<Word> words) {
    BitReader mask = reader_of(positions);
    BitReader reader = reader_of(values);
    for (Word& word : words) {
      word =
          mask.take(1) != 0 ? static_cast<Word>(take_word(reader, p)) : static_cast<Word>(p.zero);
    }
    return check_ends(mask, positions, reader, values);
  }

  static std::uint64_t max_words(const Parameters&, StreamBits bits) { return bits.zero; }
};

}  // namespace

constinit const Baseline zvc_baseline = baseline_from<Zvc>();

}  // namespace ebpc
