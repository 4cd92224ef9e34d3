// Plain bit-plane compression (Kim et al., ISCA 2016): a plane stream of all words, zeros included,
// with the codes of that paper. The kernels write it.

#include <algorithm>
#include <array>

#include "ebpc/baselines/coder.h"
#include "ebpc/kernels/dispatch.h"
#include "ebpc/plane_decoder.h"

namespace ebpc {
namespace {

StreamBits count(const Parameters& p, WordSpan words) {
  return {0, active_kernel().count_bpc(p, words)};
}

StreamBits encode(const Parameters& p, WordSpan words, std::uint8_t*, std::uint8_t* values) {
  return {0, active_kernel().encode_bpc(p, words, values)};
}

template <class Word>
DecodeStatus decode_words(const Parameters& p, StreamView positions, StreamView values,
                          std::span<Word> words) {
  PlaneDecoder planes(p, isca2016_codes, values.bytes, bytes_for_bits(values.bits));
  std::array<std::int64_t, max_block_size> block;
  while (!words.empty()) {
    const std::uint64_t bit = planes.reader().position();
    if (const auto verdict = planes.next(block); verdict != PlaneDecoder::Verdict::ok) {
      return PlaneDecoder::status_of(verdict, bit);
    }
    const std::size_t length = std::min(words.size(), static_cast<std::size_t>(p.block_size));
    std::transform(block.begin(), block.begin() + static_cast<std::ptrdiff_t>(length),
                   words.begin(), [](std::int64_t word) { return static_cast<Word>(word); });
    words = words.subspan(length);
  }
  return check_ends(reader_of(positions), positions, planes.reader(), values);
}

DecodeStatus decode(const Parameters& p, StreamView positions, StreamView values,
                    MutableWordSpan words) {
  return visit_word_type(words.bytes_per_word, p.is_signed, [&]<class Word>(Word*) {
    return decode_words(p, positions, values,
                        std::span(static_cast<Word*>(words.data), words.count));
  });
}

std::uint64_t max_words(const Parameters& p, StreamBits bits) {
  // A block has at least two codes, so more bits than this allows for.
  const auto block_size = static_cast<std::uint64_t>(p.block_size);
  return bits.plane > unlimited_words / block_size ? unlimited_words : bits.plane * block_size;
}

}  // namespace

constinit const Baseline bpc_baseline{count, encode, decode, max_words};

}  // namespace ebpc
