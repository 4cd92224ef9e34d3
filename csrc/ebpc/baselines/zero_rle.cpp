// Zero run-length coding (Eyeriss; Chen et al., JSSC 2017): the zero stream of EBPC, then the
// non-zero words in full.

#include "ebpc/baselines/coder.h"
#include "ebpc/kernels/dispatch.h"
#include "ebpc/zero_stream.h"

namespace ebpc {
namespace {

struct ZeroRle {
  template <class Word, class Sink>
  static void encode(const Parameters& p, std::span<const Word> words, Sink& positions,
                     Sink& values) {
    ZeroEncoder zeros(p, positions);
    for_each_mask(p, words, [&](std::span<const Word> part, std::uint64_t mask) {
      zeros.push(mask, static_cast<int>(part.size()));
      put_words(part, mask, p.word_bits, values);
    });
    zeros.finish();
  }

  /// The kernels count zero streams; their fastest setting will do, since its planes do not matter.
  static StreamBits count(const Parameters& p, WordSpan words) {
    Parameters counted = p;
    counted.block_size = 8;
    counted.base = Base::sent;
    return {active_kernel().count(counted, words).zero,
            count_nonzero(p, words) * static_cast<std::uint64_t>(p.word_bits)};
  }

  template <class Word>
  static DecodeStatus decode(const Parameters& p, StreamView positions, StreamView values,
                             std::span<Word> words) {
    ZeroDecoder zeros(p, positions.bytes, bytes_for_bits(positions.bits));
    BitReader reader = reader_of(values);
    const DecodeStatus status = read(p, zeros, positions.bits, reader, words);
    return status.ok() ? check_ends(zeros.reader(), positions, reader, values) : status;
  }

  /// All words; what is after them in the streams is left.
  template <class Word>
  static DecodeStatus read(const Parameters& p, ZeroDecoder& zeros, std::uint64_t zero_bits,
                           BitReader& values, std::span<Word> words) {
    while (!words.empty()) {
      const std::uint64_t bit = zeros.reader().position();
      const ZeroDecoder::Stretch stretch = zeros.next(words.size());
      if (zeros.reader().position() > zero_bits) {
        return {"more bits", "the end of the stream", false, bit};
      }
      if (stretch.length > words.size()) {
        return {"a zero run within the words that are left", "a longer run", false, bit};
      }
      for (Word& word : words.first(stretch.length)) {
        word = static_cast<Word>(stretch.zero ? p.zero : take_word(values, p));
      }
      words = words.subspan(stretch.length);
    }
    return {};
  }

  static std::uint64_t max_words(const Parameters& p, StreamBits bits) {
    const auto longest_run = static_cast<std::uint64_t>(p.max_zero_run);
    return bits.zero > unlimited_words / longest_run ? unlimited_words : bits.zero * longest_run;
  }
};

}  // namespace

constinit const Baseline zero_rle_baseline = baseline_from<ZeroRle>();

DecodeStatus decode_zero_rle(const Parameters& p, const DecodeJob& job) {
  ZeroDecoder zeros(p, job.zero_stream, job.zero_bytes);
  BitReader values(job.plane_stream, job.plane_bytes);
  DecodeStatus status =
      visit_word_type(job.words.bytes_per_word, p.is_signed, [&]<class Word>(Word*) {
        const std::span words(static_cast<Word*>(job.words.data), job.words.count);
        return ZeroRle::read(p, zeros, 8 * job.zero_bytes, values, words);
      });
  if (status.ok()) status = check_end(zeros.reader(), job.zero_bytes, false);
  return status.ok() ? check_end(values, job.plane_bytes, true) : status;
}

}  // namespace ebpc
