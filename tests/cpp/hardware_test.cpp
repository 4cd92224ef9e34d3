// The hardware model against the codec, bit for bit, whatever its ports' partners do.

#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "ebpc/error.h"
#include "support/hardware_golden.h"
#include "support/hardware_testbench.h"

namespace ebpc::test {
namespace {

// ------------------------------------------------------------------------------ bit-exactness

TEST(HardwareModel, EqualsTheGoldenStreams) {
  Random random(2);
  const auto transmissions = golden_transmissions();
  for (const auto& [name, p, words, expected] : transmissions) {
    SCOPED_TRACE(name + ", " + name_of(p));
    for (const Rates& rates : {Rates{}, random_rates(random)}) {
      Encoder encoder(p);
      EXPECT_EQ(encode_in_hardware(encoder, p, words, rates, random), expected);
      Decoder decoder(p);
      EXPECT_EQ(decode_in_hardware(decoder, p, expected, words.size(), rates, random), words);
    }
  }
  EXPECT_GT(transmissions.size(), 480u);
}

TEST(HardwareModel, StallsOnAnyPortChangeNoBit) {
  Random random(3);
  const Parameters p;
  for (const double density : {0.1, 0.5, 0.9, 1.0}) {
    for (int repeat = 0; repeat < 40; ++repeat) {
      expect_both_ways(p, relu_like(p, 700, density, random), random_rates(random),
                       random_rates(random), random);
      expect_both_ways(p, any_words(p, 700, density, random), random_rates(random),
                       random_rates(random), random);
    }
  }
}

TEST(HardwareModel, OnePortNearlyClosedStopsNothingForGood) {
  Random random(4);
  const Parameters p;
  const Words words = any_words(p, 300, 0.7, random);
  for (const Rates& rates : {Rates{0.02, 1, 1}, Rates{1, 0.02, 1}, Rates{1, 1, 0.02}}) {
    expect_both_ways(p, words, rates, rates, random);
  }
}

TEST(HardwareModel, EveryWidthAndBlockSizeSignedAndUnsignedWithBothBases) {
  Random random(5);
  for (const int word_bits : {2, 4, 8, 12, 16, 31, 32}) {
    for (const int block_size : {2, 4, 5, 8, 16, 31, 32}) {
      for (const bool is_signed : {true, false}) {
        for (const Base base : {Base::sent, Base::reused}) {
          if (block_size == 32 && base == Base::reused) continue;  // refused
          const Parameters p = parameters(word_bits, block_size, is_signed, 16, base);
          expect_both_ways(p, any_words(p, 200, 0.7, random), {}, {}, random);
          expect_both_ways(p, relu_like(p, 200, 0.6, random), random_rates(random),
                           random_rates(random), random);
        }
      }
    }
  }
}

TEST(HardwareModel, AnyWordCountsAsZero) {
  Random random(16);
  for (const Base base : {Base::sent, Base::reused}) {
    for (const std::uint32_t zero : {0x80u, 3u, 0xFFu}) {
      const Parameters p = with_zero(parameters(8, 8, true, 16, base), zero);
      Words words = any_words(p, 500, 0.5, random);
      words.insert(words.end(), {zero, 0, zero});
      for (auto& word : words) word = random() % 2 == 0 ? zero : word;
      const WordStreams expected = reference_streams(p, words);
      Encoder encoder(p);
      EXPECT_EQ(encode_in_hardware(encoder, p, words, random_rates(random), random), expected);
      Decoder decoder(p);
      EXPECT_EQ(
          decode_in_hardware(decoder, p, expected, words.size(), random_rates(random), random),
          words);
    }
  }
}

TEST(HardwareModel, EveryZeroRunLimit) {
  Random random(6);
  for (const int max_zero_run : {2, 4, 64, 1 << 16}) {
    const Parameters p = parameters(8, 8, true, max_zero_run);
    for (const double density : {0.01, 0.3, 0.9}) {
      expect_both_ways(p, any_words(p, 1500, density, random), random_rates(random),
                       random_rates(random), random);
    }
  }
}

// ------------------------------------------------------------------------- ends of transmissions

TEST(HardwareModel, LastWordAtEveryPlaceInABlock) {
  Random random(7);
  for (const int block_size : {4, 8, 16}) {
    const Parameters p = parameters(8, block_size);
    for (int length = 1; length <= 2 * block_size + 2; ++length) {
      for (int trailing_zeros : {0, 1, 15, 16, 17, 40}) {
        Words words = any_words(p, static_cast<std::size_t>(length), 1.0, random);
        words.resize(words.size() + static_cast<std::size_t>(trailing_zeros));
        expect_both_ways(p, words, {}, {}, random);
        expect_both_ways(p, words, random_rates(random), random_rates(random), random);
      }
    }
  }
}

TEST(HardwareModel, AllZeroWordsGiveAPlaneStreamWithoutWords) {
  Random random(8);
  const Parameters p;
  for (const std::size_t length : {1u, 7u, 15u, 16u, 17u, 300u}) {
    const Words words(length, 0);
    EXPECT_TRUE(codec_streams(p, words).plane.empty());
    expect_both_ways(p, words, {}, {}, random);
    expect_both_ways(p, words, random_rates(random), random_rates(random), random);
  }
}

TEST(HardwareModel, WithoutAWordNothingHappens) {
  Encoder encoder{Parameters{}};
  Decoder decoder{Parameters{}};
  const auto reset = encoder.registers().scan_out();
  for (int i = 0; i < 50; ++i) {
    const EncoderOutput out = encoder.cycle({.word = {}, .zero_ready = true, .plane_ready = true});
    EXPECT_TRUE(out.word_ready && !out.zero.valid && !out.plane.valid);
    // A transmission of no words is announced and passed over.
    const DecoderOutput decoded = decoder.cycle(
        {.count = {.valid = true, .data = 0}, .zero = {}, .plane = {}, .word_ready = true});
    EXPECT_TRUE(decoded.count_ready && !decoded.word.valid);
  }
  EXPECT_EQ(encoder.registers().scan_out(), reset);
}

TEST(HardwareModel, LastTravelsWithTheLastWordOfEachStream) {
  const Parameters p;
  Encoder encoder(p);
  std::vector<Beat> plane;
  // 8 non-zero words, then zeros: the plane stream's last word waits to learn that it is the last.
  Words words{1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  for (std::size_t i = 0; plane.empty() || !plane.back().last;) {
    ASSERT_LT(encoder.statistics().cycles, 100u);
    EncoderInput in{.word = {}, .zero_ready = true, .plane_ready = true};
    if (i < words.size()) in.word = {true, words[i], i + 1 == words.size()};
    const EncoderOutput out = encoder.cycle(in);
    i += moves(in.word, out.word_ready);
    if (out.plane.valid) plane.push_back(out.plane);
  }
  // The base, twice all ones, a run of seven zero planes: 8 + 5 + 5 + 6 bits, three whole words.
  ASSERT_EQ(plane.size(), 3u);
  EXPECT_EQ(plane[0].data, 0b00000001u);
  EXPECT_EQ(plane[1].data, 0b00000000u);
  EXPECT_EQ(plane[2].data, 0b00001101u);
  EXPECT_TRUE(!plane[0].last && !plane[1].last && plane[2].last && plane[2].keep);
}

// ---- What the published RTL's history mended (pulp-platform/stream-ebpc)
// --------------------------

/// Transmissions through one encoder and one decoder, which are not reset between them.
void expect_in_a_row(const Parameters& p, const std::vector<Words>& transmissions, Random& random) {
  for (const bool stalls : {false, true}) {
    Encoder encoder(p);
    Decoder decoder(p);
    for (const Words& words : transmissions) {
      const Rates rates = stalls ? random_rates(random) : Rates{};
      const WordStreams expected = codec_streams(p, words);
      EXPECT_EQ(encode_in_hardware(encoder, p, words, rates, random), expected);
      EXPECT_EQ(decode_in_hardware(decoder, p, expected, words.size(), rates, random), words);
    }
  }
}

// 434fc9e: the transmission that followed a last word of zero was wrong.
TEST(HardwareModel, AZeroAsTheLastWordDoesNotReachTheNextTransmission) {
  Random random(18);
  for (const Base base : {Base::sent, Base::reused}) {
    std::vector<Words> transmissions;
    for (std::size_t zeros = 1; zeros <= 17; ++zeros) {
      Words words = any_words({}, 20, 0.6, random);
      words.insert(words.end(), zeros, 0);
      transmissions.push_back(words);
      transmissions.push_back(any_words({}, 9, 1.0, random));
    }
    expect_in_a_row(parameters(8, 8, true, 16, base), transmissions, random);
  }
}

// e6ed764: the decoder lost its way between transmissions; d286728, b1dc45b: so did clock gates and
// the pulse that says that both streams have ended.
TEST(HardwareModel, TransmissionsOfAnyLengthFollowEachOther) {
  Random random(19);
  for (const Base base : {Base::sent, Base::reused}) {
    std::vector<Words> transmissions;
    for (const std::size_t length : {1u, 1u, 8u, 7u, 9u, 1u, 64u, 2u}) {
      for (const double density : {1.0, 0.5, 0.0}) {
        transmissions.push_back(any_words({}, length, density, random));
      }
    }
    expect_in_a_row(parameters(8, 8, true, 16, base), transmissions, random);
  }
}

// 7eee1e8: the plane stream's last flag. a2ead73: the words of 0 that fill the last block up.
TEST(HardwareModel, ThePlaneStreamsLastFlagComesOnceWhateverItsLength) {
  Random random(20);
  const Parameters p;
  for (std::size_t length = 1; length <= 32; ++length) {
    Words words = relu_like(p, length, 1.0, random);
    words.push_back(0);
    Encoder encoder(p);
    std::size_t next = 0;
    std::vector<bool> last;
    for (int cycle = 0; cycle < 200; ++cycle) {
      EncoderInput in{.word = {}, .zero_ready = true, .plane_ready = true};
      if (next < words.size()) in.word = {true, words[next], next + 1 == words.size()};
      const EncoderOutput out = encoder.cycle(in);
      next += moves(in.word, out.word_ready);
      if (out.plane.valid) last.push_back(out.plane.last);
    }
    std::vector<bool> expected(codec_streams(p, words).plane.size(), false);
    expected.back() = true;
    EXPECT_EQ(last, expected) << length;
  }
}

// The encoder plugged into the decoder, transmission after transmission without a reset. The zero
// stream needs a buffer on the way: it runs ahead of the plane stream by a block of non-zero words
// and all zero words between them. The plane stream needs none.
TEST(HardwareModel, EncoderIntoDecoderReturnsEveryTransmission) {
  Random random(9);
  for (const Parameters& p : {parameters(8, 8), parameters(4, 16), parameters(16, 8)}) {
    SCOPED_TRACE(name_of(p));
    std::vector<Words> transmissions;
    for (const std::size_t length : {1u, 5u, 300u, 8u, 64u, 1u, 17u, 1000u, 9u, 2u}) {
      for (const double density : {0.0, 0.5, 1.0}) {
        transmissions.push_back(any_words(p, length, density, random));
      }
    }
    Encoder encoder(p);
    Decoder decoder(p);
    std::deque<Beat> zero_buffer;
    std::vector<Words> decoded(1);
    std::size_t sending = 0;
    std::size_t sent = 0;
    std::size_t counted = 0;
    while (decoded.size() <= transmissions.size()) {
      ASSERT_LT(encoder.statistics().cycles, 100'000u) << "no progress";
      const EncoderOutput offered = encoder.outputs();
      DecoderInput from_encoder{.count = {},
                                .zero = zero_buffer.empty() ? Beat{} : zero_buffer.front(),
                                .plane = offered.plane,
                                .word_ready = random() % 8 > 0};
      if (counted < transmissions.size()) {
        from_encoder.count = {.valid = true,
                              .data = static_cast<std::uint32_t>(transmissions[counted].size())};
      }
      const DecoderOutput out = decoder.cycle(from_encoder);
      counted += moves(from_encoder.count, out.count_ready);
      if (moves(from_encoder.zero, out.zero_ready)) zero_buffer.pop_front();
      if (offered.zero.valid) zero_buffer.push_back(offered.zero);
      if (moves(out.word, from_encoder.word_ready)) {
        decoded.back().push_back(out.word.data);
        if (out.word.last) decoded.emplace_back();
      }
      EncoderInput in{.word = {}, .zero_ready = true, .plane_ready = out.plane_ready};
      if (sending < transmissions.size() && random() % 8 > 0) {
        const Words& words = transmissions[sending];
        in.word = {true, words[sent], sent + 1 == words.size()};
      }
      if (moves(in.word, encoder.cycle(in).word_ready) && ++sent == transmissions[sending].size()) {
        ++sending;
        sent = 0;
      }
    }
    decoded.pop_back();
    EXPECT_EQ(decoded, transmissions);
  }
}

TEST(HardwareModel, DamagedStreamsOnlyGiveOtherWords) {
  Random random(10);
  for (const Parameters& p : {parameters(8, 8), parameters(32, 32), parameters(5, 3)}) {
    for (int repeat = 0; repeat < 100; ++repeat) {
      const Words zero = any_words(p, 40, 0.9, random);
      const Words plane = any_words(p, 200, 0.9, random);
      try {
        EXPECT_EQ(run_decoder(p, zero, plane, 300).words.size(), 300u);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::format);  // the streams ended early
      }
    }
  }
}

TEST(HardwareModel, AStreamThatEndsEarlyIsNoticedWhileTheOtherWaitsInMemory) {
  // Words without zeros, whose plane stream ends at once; the zero stream fills its FIFO.
  const Parameters p = parameters(8, 8);
  const Words zero(100, 0xFF);
  for (const int bits_per_cycle : {1, 8, 64}) {
    EXPECT_THROW(
        run_decoder(p, zero, {}, 800, {.bits_per_cycle = bits_per_cycle, .burst_bytes = 4}), Error);
  }
}

TEST(HardwareModel, ADamagedTransmissionDoesNotReachTheNext) {
  Random random(15);
  const Parameters p;
  Decoder decoder(p);
  for (int repeat = 0; repeat < 50; ++repeat) {
    const std::vector<WordStreams> damaged_streams{
        {{0b01111000}, {}},               // a run of 16 zero words where one word was announced
        {{0b10000000}, {1, 0, 13, 5, 1}}  // the block of that word, and half of another
    };
    for (const WordStreams& damaged : damaged_streams) {
      decode_in_hardware(decoder, p, damaged, 1, random_rates(random), random);
    }
    const Words words = any_words(p, 100, 0.6, random);
    EXPECT_EQ(decode_in_hardware(decoder, p, codec_streams(p, words), words.size(),
                                 random_rates(random), random),
              words);
  }
}

TEST(HardwareModel, RefusesWhatItDoesNotSupport) {
  EXPECT_THROW(Encoder(parameters(1, 8)), Error);
  EXPECT_THROW(Encoder(parameters(8, 64)), Error);
  EXPECT_THROW(Encoder(parameters(8, 32, true, 16, Base::reused)), Error);
  EXPECT_THROW(Decoder(parameters(8, 32, true, 16, Base::reused)), Error);
}

}  // namespace
}  // namespace ebpc::test
