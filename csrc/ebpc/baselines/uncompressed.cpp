// Words as they are, W bits each: what every ratio is measured against.

#include "ebpc/baselines/coder.h"

namespace ebpc {
namespace {

struct Uncompressed {
  template <class Word, class Sink>
  static void encode(const Parameters& p, std::span<const Word> words, Sink&, Sink& values) {
    for (const Word word : words) values.put(bits_of(word, p.word_bits), p.word_bits);
  }

  template <class Word>
  static DecodeStatus decode(const Parameters& p, StreamView positions, StreamView values,
                             std::span<Word> words) {
    BitReader reader = reader_of(values);
    for (Word& word : words) word = static_cast<Word>(take_word(reader, p));
    return check_ends(reader_of(positions), positions, reader, values);
  }

  static std::uint64_t max_words(const Parameters& p, StreamBits bits) {
    return bits.plane / static_cast<std::uint64_t>(p.word_bits);
  }
};

}  // namespace

constinit const Baseline uncompressed_baseline = baseline_from<Uncompressed>();

}  // namespace ebpc
