// Makes a Baseline of a Coder: a class that codes words into two sinks and reads them back.

#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <span>

#include "ebpc/baselines/baseline.h"
#include "ebpc/bit_stream.h"

namespace ebpc {

/// Calls visit(part, mask) for every 64 words in turn; bit i of the mask is set where word i of the
/// part is not the zero word.
template <class Word, class Visitor>
void for_each_mask(const Parameters& p, std::span<const Word> words, Visitor&& visit) {
  while (!words.empty()) {
    const auto part = words.first(std::min<std::size_t>(64, words.size()));
    visit(part,
          nonzero_mask(part.data(), static_cast<int>(part.size()), static_cast<Word>(p.zero)));
    words = words.subspan(part.size());
  }
}

/// Writes the words of a part that its mask names.
template <class Word, class Sink>
void put_words(std::span<const Word> part, std::uint64_t mask, int word_bits, Sink& sink) {
  for (; mask != 0; mask &= mask - 1) {
    sink.put(bits_of(part[static_cast<std::size_t>(std::countr_zero(mask))], word_bits), word_bits);
  }
}

/// The next word as it was written.
inline std::int64_t take_word(BitReader& reader, const Parameters& p) {
  return extended_word(reader.take(p.word_bits), p.word_bits, p.is_signed);
}

inline BitReader reader_of(StreamView stream) {
  return {stream.bytes, bytes_for_bits(stream.bits)};
}

/// Whether a reader has taken exactly the bits of its stream, and the padding is zero.
inline DecodeStatus check_end(const BitReader& reader, StreamView stream, bool in_plane_stream) {
  const std::uint64_t bit = reader.position();
  const DecodeStatus status = check_bits(bit, stream.bits, in_plane_stream);
  if (status.ok() && reader.window() != 0) {
    return {"zero bits as padding", "a one bit", in_plane_stream, bit};
  }
  return status;
}

inline DecodeStatus check_ends(const BitReader& positions, StreamView position_stream,
                               const BitReader& values, StreamView value_stream) {
  const DecodeStatus status = check_end(positions, position_stream, false);
  return status.ok() ? check_end(values, value_stream, true) : status;
}

inline constexpr std::uint64_t unlimited_words = std::numeric_limits<std::uint64_t>::max();

template <class Coder, class Sink>
StreamBits code_words(const Parameters& p, WordSpan words, Sink position_sink, Sink value_sink) {
  return visit_word_type(words.bytes_per_word, p.is_signed, [&]<class Word>(Word*) -> StreamBits {
    // Copies, so that the compiler sees that nothing else changes them, and keeps them in
    // registers.
    Sink positions = position_sink;
    Sink values = value_sink;
    Coder::encode(p, std::span(static_cast<const Word*>(words.data), words.count), positions,
                  values);
    positions.flush();
    values.flush();
    return {positions.bits(), values.bits()};
  });
}

/// A Coder has
///   template <class Word, class Sink>
///   static void encode(const Parameters&, std::span<const Word>, Sink& positions, Sink& values);
///   template <class Word>
///   static DecodeStatus decode(const Parameters&, StreamView positions, StreamView values,
///                              std::span<Word>);
///   static std::uint64_t max_words(const Parameters&, StreamBits);
/// Counting and writing are the same `encode`, with another sink, unless there is a faster way:
///   static StreamBits count(const Parameters&, WordSpan);
template <class Coder>
constexpr Baseline baseline_from() {
  return {[](const Parameters& p, WordSpan words) {
            if constexpr (requires { Coder::count(p, words); }) {
              return Coder::count(p, words);
            } else {
              return code_words<Coder>(p, words, BitCounter(), BitCounter());
            }
          },
          [](const Parameters& p, WordSpan words, std::uint8_t* positions, std::uint8_t* values) {
            return code_words<Coder>(p, words, BitWriter(positions), BitWriter(values));
          },
          [](const Parameters& p, StreamView positions, StreamView values, MutableWordSpan words) {
            return visit_word_type(words.bytes_per_word, p.is_signed, [&]<class Word>(Word*) {
              return Coder::decode(p, positions, values,
                                   std::span(static_cast<Word*>(words.data), words.count));
            });
          },
          [](const Parameters& p, StreamBits bits) { return Coder::max_words(p, bits); }};
}

}  // namespace ebpc
