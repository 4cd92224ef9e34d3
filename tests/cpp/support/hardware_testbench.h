// Drives the hardware model's ports with stalls at random, holds it to the protocol and to
// progress, and makes words to send.

#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "ebpc/codec.h"
#include "ebpc/hardware/decoder.h"
#include "ebpc/hardware/encoder.h"
#include "ebpc/hardware/simulation.h"
#include "reference_codec.h"

namespace ebpc::test {

using namespace hardware;

using Words = std::vector<std::uint32_t>;  // W-bit patterns

struct WordStreams {
  Words zero;
  Words plane;

  friend bool operator==(const WordStreams&, const WordStreams&) = default;
};

inline Parameters parameters(int word_bits, int block_size, bool is_signed = true,
                             int max_zero_run = 16, Base base = Base::sent) {
  return {.word_bits = word_bits,
          .is_signed = is_signed,
          .block_size = block_size,
          .max_zero_run = max_zero_run,
          .base = base};
}

/// With the word of that pattern as the zero word.
inline Parameters with_zero(Parameters p, std::uint32_t pattern) {
  p.zero = extended_word(pattern, p.word_bits, p.is_signed);
  return p;
}

inline std::string name_of(const Parameters& p) {
  return "W " + std::to_string(p.word_bits) + " N " + std::to_string(p.block_size) + " R " +
         std::to_string(p.max_zero_run) + (p.is_signed ? " signed" : " unsigned") +
         (p.base == Base::sent ? "" : " base re-used");
}

inline std::vector<std::int32_t> integers(const Parameters& p, const Words& words) {
  std::vector<std::int32_t> values;
  for (const std::uint32_t word : words) {
    const int unused = 32 - p.word_bits;
    values.push_back(p.is_signed ? static_cast<std::int32_t>(word << unused) >> unused
                                 : static_cast<std::int32_t>(word));
  }
  return values;
}

/// The reverse: W-bit patterns.
inline Words words_of(const Parameters& p, const std::vector<std::int64_t>& values) {
  Words words;
  for (const std::int64_t value : values) {
    words.push_back(
        static_cast<std::uint32_t>(static_cast<std::uint64_t>(value) & low_ones(p.word_bits)));
  }
  return words;
}

/// The streams that the codec writes, as words of W bits.
inline WordStreams codec_streams(const Parameters& p, const Words& words) {
  const auto values = integers(p, words);
  std::vector<std::uint8_t> zero_stream;
  std::vector<std::uint8_t> plane_stream;
  const StreamBits bits = encode(p, {values.data(), values.size(), 4}, zero_stream, plane_stream);
  return {stream_words(p, zero_stream, bits.zero), stream_words(p, plane_stream, bits.plane)};
}

/// The streams with another zero word, by the reference.
inline WordStreams reference_streams(const Parameters& p, const Words& words) {
  const auto words_as_integers = integers(p, words);
  const test::Values values(words_as_integers.begin(), words_as_integers.end());
  const auto words_of_bits = [&p](const std::string& bits) {
    return stream_words(p, test::packed(bits), bits.size());
  };
  return {words_of_bits(test::reference_zero_stream(p, values)),
          words_of_bits(test::reference_plane_stream(p, test::without_zeros(p, values)))};
}

/// Like a map after a ReLU: rows of slowly changing positive values between runs of zeros.
inline Words relu_like(const Parameters& p, std::size_t count, double density, Random& random) {
  const std::int64_t top = (std::int64_t{1} << (p.word_bits - (p.is_signed ? 1 : 0))) - 1;
  std::normal_distribution<double> step(0.0, 0.08 * static_cast<double>(top));
  std::bernoulli_distribution flip(0.25);
  std::bernoulli_distribution nonzero(density);
  Words words(count);
  double value = 0.2 * static_cast<double>(top);
  bool active = true;
  for (auto& word : words) {
    if (flip(random)) active = nonzero(random);
    value = std::clamp(value + step(random), 1.0, static_cast<double>(top));
    word = active ? static_cast<std::uint32_t>(value) : 0;
  }
  return words;
}

/// Any pattern at all: the widest deltas and the most codes.
inline Words any_words(const Parameters& p, std::size_t count, double density, Random& random) {
  std::bernoulli_distribution nonzero(density);
  Words words(count);
  for (auto& word : words) {
    word = nonzero(random) ? static_cast<std::uint32_t>(random() & low_ones(p.word_bits)) : 0;
  }
  return words;
}

/// How often each port is ready, or has something to offer, in a cycle.
struct Rates {
  double word = 1;
  double zero = 1;
  double plane = 1;
};

/// Drives one side of a stream port: a beat once offered stays until it has moved.
class Producer {
 public:
  Producer(const Words& words, bool null_beat_if_empty)
      : words_(words), ends_with_null_(words.empty() && null_beat_if_empty) {}

  const Beat& offer(bool now) {
    if (beat_.valid || !now) return beat_;
    if (next_ < words_.size()) {
      beat_ = {.valid = true, .data = words_[next_], .last = next_ + 1 == words_.size()};
      ++next_;
    } else if (ends_with_null_) {
      beat_ = {.valid = true, .last = true, .keep = false};
      ends_with_null_ = false;
    }
    return beat_;
  }
  void settle(bool ready) {
    if (ready) beat_ = {};
  }
  bool all_moved() const { return !beat_.valid && next_ == words_.size() && !ends_with_null_; }

 private:
  const Words& words_;
  std::size_t next_ = 0;
  bool ends_with_null_;
  Beat beat_;
};

/// Receives at a stream port, and holds the producer to the protocol.
class Consumer {
 public:
  explicit Consumer(Words& words) : words_(words) {}

  /// One cycle; returns whether the beat moved.
  bool cycle(const Beat& beat, bool ready) {
    if (waiting_.valid) {
      EXPECT_EQ(beat, waiting_) << "a beat changed before it had moved";
    }
    waiting_ = moves(beat, ready) ? Beat{} : beat;
    if (!beat.valid) waiting_ = {};
    if (!moves(beat, ready)) return false;
    EXPECT_FALSE(ended_) << "a beat after the last one";
    if (beat.keep) {
      words_.push_back(beat.data);
    } else {
      EXPECT_TRUE(beat.last && words_.empty()) << "a beat without a word in a stream that has some";
    }
    ended_ = beat.last;
    return true;
  }
  bool ended() const { return ended_; }

 private:
  Words& words_;
  Beat waiting_;
  bool ended_ = false;
};

/// No combination of stalls may stop a design for good: with every port open at this rate or more,
/// something moves within so many cycles. W + 2 symbols, N words to fill up and 64 bits to flush
/// are the longest that goes on inside without any port.
inline int patience(const Parameters& p, const Rates& rates) {
  const double slowest = std::min({rates.word, rates.zero, rates.plane});
  return static_cast<int>((p.word_bits + p.block_size + 64) * 12 / slowest);
}

template <class Design>
WordStreams encode_in_hardware(Design& encoder, const Parameters& p, const Words& words,
                               const Rates& rates, Random& random) {
  WordStreams streams;
  Producer word(words, false);
  Consumer zero(streams.zero);
  Consumer plane(streams.plane);
  std::bernoulli_distribution word_now(rates.word);
  std::bernoulli_distribution zero_now(rates.zero);
  std::bernoulli_distribution plane_now(rates.plane);
  for (int still = 0; !zero.ended() || !plane.ended(); ++still) {
    // Behind the end of a stream nobody listens any more.
    const EncoderInput in{.word = word.offer(word_now(random)),
                          .zero_ready = !zero.ended() && zero_now(random),
                          .plane_ready = !plane.ended() && plane_now(random)};
    const EncoderOutput out = encoder.cycle(in);
    const bool word_moved = moves(in.word, out.word_ready);
    word.settle(out.word_ready);
    const bool zero_moved = zero.cycle(out.zero, in.zero_ready);
    const bool plane_moved = plane.cycle(out.plane, in.plane_ready);
    if (word_moved || zero_moved || plane_moved) still = 0;
    if (still > patience(p, rates)) {
      ADD_FAILURE() << "the encoder stands still";
      break;
    }
  }
  return streams;
}

template <class Design>
Words decode_in_hardware(Design& decoder, const Parameters& p, const WordStreams& streams,
                         std::size_t count, const Rates& rates, Random& random) {
  Words words;
  const Words counts{static_cast<std::uint32_t>(count)};
  Producer counter(counts, false);
  Producer zero(streams.zero, true);
  Producer plane(streams.plane, true);
  Consumer word(words);
  std::bernoulli_distribution word_now(rates.word);
  std::bernoulli_distribution zero_now(rates.zero);
  std::bernoulli_distribution plane_now(rates.plane);
  for (int still = 0; !word.ended(); ++still) {
    const DecoderInput in{.count = counter.offer(word_now(random)),
                          .zero = zero.offer(zero_now(random)),
                          .plane = plane.offer(plane_now(random)),
                          .word_ready = word_now(random)};
    const DecoderOutput out = decoder.cycle(in);
    counter.settle(out.count_ready);
    const bool zero_moved = moves(in.zero, out.zero_ready);
    const bool plane_moved = moves(in.plane, out.plane_ready);
    zero.settle(out.zero_ready);
    plane.settle(out.plane_ready);
    const bool word_moved = word.cycle(out.word, in.word_ready);
    if (word_moved || zero_moved || plane_moved) still = 0;
    if (still > patience(p, rates)) {
      ADD_FAILURE() << "the decoder stands still after " << words.size() << " of " << count;
      break;
    }
  }
  EXPECT_TRUE(zero.all_moved() && plane.all_moved()) << "a stream's end is left in its port";
  return words;
}

inline void expect_both_ways(const Parameters& p, const Words& words, const Rates& encoder_rates,
                             const Rates& decoder_rates, Random& random) {
  SCOPED_TRACE(name_of(p) + ", " + std::to_string(words.size()) + " words");
  const WordStreams expected = codec_streams(p, words);
  Encoder encoder(p);
  EXPECT_EQ(encode_in_hardware(encoder, p, words, encoder_rates, random), expected);
  Decoder decoder(p);
  EXPECT_EQ(decode_in_hardware(decoder, p, expected, words.size(), decoder_rates, random), words);
}

inline Rates random_rates(Random& random) {
  std::uniform_real_distribution<double> rate(0.05, 1.0);
  return {rate(random), rate(random), rate(random)};
}

template <class Word>
WordSpan span_of(const std::vector<Word>& words) {
  return {words.data(), words.size(), sizeof(Word)};
}

}  // namespace ebpc::test
