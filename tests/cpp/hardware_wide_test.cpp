// The wide encoder: the narrow one's streams, whatever its ports' partners do.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "ebpc/error.h"
#include "ebpc/hardware/limits.h"
#include "ebpc/hardware/wide_encoder.h"
#include "support/hardware_golden.h"
#include "support/hardware_testbench.h"

namespace ebpc::test {
namespace {

/// A consumer that holds the producer to its beat until it has moved.
class WideConsumer {
 public:
  void cycle(const WideBeat& beat, bool ready) {
    EXPECT_FALSE(ended_ && beat.valid) << "a beat after the last one";
    if (kept_.valid) {
      EXPECT_EQ(beat, kept_);
    }
    kept_ = ready ? WideBeat{} : beat;
    if (!moves(beat, ready)) return;
    words.insert(words.end(), beat.data.begin(), beat.data.begin() + beat.words);
    ended_ = beat.last;
  }
  bool ended() const { return ended_; }

  Words words;

 private:
  WideBeat kept_{};
  bool ended_ = false;
};

/// One transmission through an encoder, whatever it has done before.
WordStreams encode_wide(WideEncoder& encoder, std::size_t lanes, const Words& words,
                        const Rates& rates, Random& random) {
  std::bernoulli_distribution word_now(rates.word);
  std::bernoulli_distribution zero_now(rates.zero);
  std::bernoulli_distribution plane_now(rates.plane);
  WideConsumer zero;
  WideConsumer plane;
  WideBeat beat;
  std::size_t next = 0;
  for (std::uint64_t cycles = 0; !zero.ended() || !plane.ended(); ++cycles) {
    if (cycles > 400 * words.size() + 4000) {
      ADD_FAILURE() << "the encoder stands still";
      break;
    }
    if (!beat.valid && next < words.size() && word_now(random)) {
      beat = {.valid = true};
      for (; static_cast<std::size_t>(beat.words) < lanes && next < words.size(); ++next) {
        beat.data[static_cast<std::size_t>(beat.words++)] = words[next];
      }
      beat.last = next == words.size();
    }
    const WideEncoderInput in{
        .word = beat, .zero_ready = zero_now(random), .plane_ready = plane_now(random)};
    const WideEncoderOutput out = encoder.cycle(in);
    if (moves(beat, out.word_ready)) beat = {};
    if (!zero.ended()) zero.cycle(out.zero, in.zero_ready);
    if (!plane.ended()) plane.cycle(out.plane, in.plane_ready);
  }
  return {zero.words, plane.words};
}

void expect_streams(WideEncoder& encoder, const Parameters& p, int lanes, const Words& words,
                    Random& random) {
  SCOPED_TRACE(name_of(p) + ", " + std::to_string(lanes) + " lanes, " +
               std::to_string(words.size()) + " words");
  const WordStreams expected = codec_streams(p, words);
  for (const Rates& rates : {Rates{}, random_rates(random)}) {
    EXPECT_EQ(encode_wide(encoder, static_cast<std::size_t>(lanes), words, rates, random),
              expected);
  }
}

TEST(WideEncoder, EqualsTheGoldenStreams) {
  Random random(2);
  for (const auto& [name, p, words, streams] : golden_transmissions()) {
    if (p.base != Base::sent || words.size() > 500) continue;
    SCOPED_TRACE(name);
    for (const int lanes : {1, 2, 3, 4, 8}) {
      if (lanes > p.block_size) continue;
      WideEncoder encoder(p, lanes);
      expect_streams(encoder, p, lanes, words, random);
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(WideEncoder, TransmissionsOfAnyLengthFollowEachOther) {
  Random random(3);
  for (const Parameters& p : {parameters(8, 8), parameters(16, 16, false),
                              parameters(5, 8, true, 2), with_zero(parameters(8, 8), 0x80)}) {
    for (const int lanes : {1, 2, 4, 7, 8}) {
      WideEncoder encoder(p, lanes);
      for (std::size_t length = 1; length <= 26; ++length) {
        for (const double density : {0.0, 0.5, 1.0}) {
          Words words = any_words(p, length, density, random);
          for (auto& word : words) word = word == 0 ? zero_pattern(p) : word;
          expect_streams(encoder, p, lanes, words, random);
          if (testing::Test::HasFailure()) return;
        }
      }
      expect_streams(encoder, p, lanes, relu_like(p, 3000, 0.6, random), random);
    }
  }
}

TEST(WideEncoder, RegistersAreCounted) {
  const Parameters p = parameters(8, 8);
  std::vector<int> bits;
  for (const int lanes : {1, 2, 4, 8}) {
    bits.push_back(WideEncoder(p, lanes).registers().total_bits());
  }
  EXPECT_EQ(bits.front(), Encoder(p).registers().total_bits());
  EXPECT_EQ(bits, (std::vector<int>{204, 243, 317, 463}));
}

// A block of N words that has W + 2 symbols takes them in (W + 2) / lanes cycles, rounded up.
TEST(WideEncoder, IncompressibleWordsMoveAsManyLanesAsSymbolsAllow) {
  Random random(4);
  const Parameters p = parameters(8, 8);
  const auto values = integers(p, any_words(p, 40'000, 1.0, random));
  const WordSpan words = span_of(values);
  for (const auto& [lanes, slowest] : {std::pair{2, 8.0 / 5}, {4, 8.0 / 3}, {8, 8.0 / 2}}) {
    const EncoderRun run = run_encoder(p, words, {}, lanes);
    EXPECT_EQ(run.statistics.words, values.size());
    EXPECT_GT(run.words_per_cycle(), 0.99 * slowest);
    EXPECT_LE(run.words_per_cycle(), lanes);
    const EncoderStatistics& s = run.statistics;
    EXPECT_GT(s.cycles, s.starved + s.zero_packer + s.symbol_coder + s.plane_packer + s.ending);
    EXPECT_EQ(run.plane.words, run.plane_stream.size());
    EXPECT_EQ(s.plane_words, run.plane_stream.size());
  }
}

TEST(WideEncoder, ANarrowMemorySetsThePaceAndFillsNoFifo) {
  Random random(5);
  const Parameters p = parameters(8, 8);
  const auto values = integers(p, relu_like(p, 20'000, 0.8, random));
  const WordSpan words = span_of(values);
  const EncoderRun free = run_encoder(p, words, {}, 4);
  const EncoderRun narrow =
      run_encoder(p, words, {.bits_per_cycle = 4, .burst_bytes = 64, .fifo_words = 128}, 4);
  EXPECT_EQ(narrow.zero_stream, free.zero_stream);
  EXPECT_EQ(narrow.plane_stream, free.plane_stream);
  EXPECT_GT(narrow.statistics.cycles, free.statistics.cycles);
  EXPECT_LE(narrow.plane.fifo_high_water, 128u);
}

TEST(WideEncoder, RefusesWhatItDoesNotSupport) {
  EXPECT_THROW(WideEncoder(parameters(8, 8), 0), Error);
  EXPECT_THROW(WideEncoder(parameters(8, 8), 9), Error);
  EXPECT_THROW(WideEncoder(parameters(8, 4), 5), Error);
  EXPECT_THROW(WideEncoder(parameters(8, 8, true, 16, Base::reused), 2), Error);
}

}  // namespace
}  // namespace ebpc::test
