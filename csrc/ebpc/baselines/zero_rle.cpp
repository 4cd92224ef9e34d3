// Zero run-length coding (Eyeriss; Chen et al., JSSC 2017): the zero stream of EBPC, then the
// non-zero words in full.

#include "ebpc/baselines/coder.h"
#include "ebpc/zero_stream.h"

namespace ebpc {
namespace {

struct ZeroRle {
  template <class Word, class Sink>
  static void encode(const Parameters& p, std::span<const Word> words, Sink& positions,
                     Sink& values) {
    ZeroEncoder zeros(p, positions);
    for_each_mask(words, [&](std::span<const Word> part, std::uint64_t mask) {
      zeros.push(mask, static_cast<int>(part.size()));
      put_words(part, mask, p.word_bits, values);
    });
    zeros.finish();
  }

  template <class Word>
  static DecodeStatus decode(const Parameters& p, StreamView positions, StreamView values,
                             std::span<Word> words) {
    ZeroDecoder zeros(p, positions.bytes, bytes_for_bits(positions.bits));
    BitReader reader = reader_of(values);
    while (!words.empty()) {
      const std::uint64_t bit = zeros.reader().position();
      const ZeroDecoder::Stretch stretch = zeros.next(words.size());
      if (zeros.reader().position() > positions.bits) {
        return {"more bits", "the end of the stream", false, bit};
      }
      if (stretch.length > words.size()) {
        return {"a zero run within the words that are left", "a longer run", false, bit};
      }
      for (Word& word : words.first(stretch.length)) {
        word = stretch.zero ? Word{0} : static_cast<Word>(take_word(reader, p));
      }
      words = words.subspan(stretch.length);
    }
    return check_ends(zeros.reader(), positions, reader, values);
  }

  static std::uint64_t max_words(const Parameters& p, StreamBits bits) {
    const auto longest_run = static_cast<std::uint64_t>(p.max_zero_run);
    return bits.zero > unlimited_words / longest_run ? unlimited_words : bits.zero * longest_run;
  }
};

}  // namespace

constinit const Baseline zero_rle_baseline = baseline_from<ZeroRle>();

}  // namespace ebpc
