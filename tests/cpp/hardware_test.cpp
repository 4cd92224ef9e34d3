// The hardware model against the codec, bit for bit and cycle by cycle.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "ebpc/codec.h"
#include "ebpc/error.h"
#include "ebpc/hardware/decoder.h"
#include "ebpc/hardware/encoder.h"
#include "ebpc/hardware/inventory.h"
#include "ebpc/hardware/simulation.h"

namespace ebpc::hardware {
namespace {

using Words = std::vector<std::uint32_t>;  // W-bit patterns
using Random = std::mt19937;

struct Streams {
  Words zero;
  Words plane;

  friend bool operator==(const Streams&, const Streams&) = default;
};

Parameters parameters(int word_bits, int block_size, bool is_signed = true, int max_zero_run = 16) {
  return {.word_bits = word_bits,
          .is_signed = is_signed,
          .block_size = block_size,
          .max_zero_run = max_zero_run,
          .base = Base::sent};
}

std::string name_of(const Parameters& p) {
  return "W " + std::to_string(p.word_bits) + " N " + std::to_string(p.block_size) + " R " +
         std::to_string(p.max_zero_run) + (p.is_signed ? " signed" : " unsigned");
}

std::vector<std::int32_t> integers(const Parameters& p, const Words& words) {
  std::vector<std::int32_t> values;
  for (const std::uint32_t word : words) {
    const int unused = 32 - p.word_bits;
    values.push_back(p.is_signed ? static_cast<std::int32_t>(word << unused) >> unused
                                 : static_cast<std::int32_t>(word));
  }
  return values;
}

/// The streams that the codec writes, as words of W bits.
Streams codec_streams(const Parameters& p, const Words& words) {
  const auto values = integers(p, words);
  std::vector<std::uint8_t> zero_stream;
  std::vector<std::uint8_t> plane_stream;
  const StreamBits bits = encode(p, {values.data(), values.size(), 4}, zero_stream, plane_stream);
  return {stream_words(p, zero_stream, bits.zero), stream_words(p, plane_stream, bits.plane)};
}

/// Like a map behind a ReLU: rows of slowly changing positive values between runs of zeros.
Words relu_like(const Parameters& p, std::size_t count, double density, Random& random) {
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
Words any_words(const Parameters& p, std::size_t count, double density, Random& random) {
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
    EXPECT_FALSE(ended_) << "a beat behind the last one";
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
int patience(const Parameters& p, const Rates& rates) {
  const double slowest = std::min({rates.word, rates.zero, rates.plane});
  return static_cast<int>((p.word_bits + p.block_size + 64) * 12 / slowest);
}

Streams encode_in_hardware(Encoder& encoder, const Parameters& p, const Words& words,
                           const Rates& rates, Random& random) {
  Streams streams;
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

Words decode_in_hardware(Decoder& decoder, const Parameters& p, const Streams& streams,
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
  return words;
}

void expect_both_ways(const Parameters& p, const Words& words, const Rates& encoder_rates,
                      const Rates& decoder_rates, Random& random) {
  SCOPED_TRACE(name_of(p) + ", " + std::to_string(words.size()) + " words");
  const Streams expected = codec_streams(p, words);
  Encoder encoder(p);
  EXPECT_EQ(encode_in_hardware(encoder, p, words, encoder_rates, random), expected);
  Decoder decoder(p);
  EXPECT_EQ(decode_in_hardware(decoder, p, expected, words.size(), decoder_rates, random), words);
}

Rates random_rates(Random& random) {
  std::uniform_real_distribution<double> rate(0.05, 1.0);
  return {rate(random), rate(random), rate(random)};
}

// ---------------------------------------------------------------------------------- registers

TEST(Register, CutsToItsWidthAndChangesAtTheClockEdge) {
  RegisterBank bank;
  Register counter(bank, "unit", "counter", 4);
  EXPECT_EQ(counter.get(), 0u);
  counter.set(0x1F);
  EXPECT_EQ(counter.get(), 0u);
  bank.clock_edge();
  EXPECT_EQ(counter.get(), 0xFu);
  bank.clock_edge();
  EXPECT_EQ(counter.get(), 0xFu);
}

TEST(Register, IsCounted) {
  RegisterBank bank;
  Register flag(bank, "a", "flag", 1);
  RegisterArray words(bank, "b", "words", 7, 9);
  words.set(6, 0xFFFF);
  bank.clock_edge();
  EXPECT_EQ(words.get(6), 0x1FFu);
  EXPECT_EQ(words.get(5), 0u);
  EXPECT_EQ(bank.total_bits(), 1 + 63);
  ASSERT_EQ(bank.groups().size(), 2u);
  EXPECT_EQ(bank.groups()[1].total_bits(), 63);
}

TEST(Inventory, PublishedParametersTakeUnder300Bits) {
  EXPECT_LT(Encoder(Parameters{}).registers().total_bits(), 300);
  EXPECT_LT(Decoder(Parameters{}).registers().total_bits(), 300);
}

TEST(Inventory, SumsOfTheUnitsAreTheTotal) {
  const Encoder encoder(Parameters{});
  int bits = 0;
  for (const RegisterGroup& group : encoder.registers().groups()) bits += group.total_bits();
  EXPECT_EQ(bits, encoder.registers().total_bits());
  EXPECT_NE(inventory_table(encoder.registers()).find(std::to_string(bits)), std::string::npos);
}

TEST(Inventory, GrowthLawEqualsTheCount) {
  for (const int word_bits : {2, 4, 8, 12, 16, 32}) {
    for (const int block_size : {2, 4, 8, 16, 32}) {
      for (const int max_zero_run : {2, 16, 1 << 16}) {
        const Parameters p = parameters(word_bits, block_size, true, max_zero_run);
        EXPECT_EQ(encoder_register_bits(p), Encoder(p).registers().total_bits()) << name_of(p);
        EXPECT_EQ(decoder_register_bits(p), Decoder(p).registers().total_bits()) << name_of(p);
      }
    }
  }
}

// Nothing outlives a cycle outside of the counted registers: a design that is replaced in the
// middle by a new one with the same register contents goes on as if nothing had happened.
TEST(Inventory, RegistersAreAllTheStateThereIs) {
  Random random(1);
  const Parameters p;
  const Words words = relu_like(p, 3000, 0.6, random);
  const Streams expected = codec_streams(p, words);

  auto encoder = std::make_unique<Encoder>(p);
  Streams streams;
  std::size_t next = 0;
  for (bool zero_ended = false, plane_ended = false; !zero_ended || !plane_ended;) {
    auto successor = std::make_unique<Encoder>(p);
    successor->registers().scan_in(encoder->registers().scan_out());
    encoder = std::move(successor);
    EncoderInput in{.word = {}, .zero_ready = random() % 2 == 0, .plane_ready = random() % 4 > 0};
    if (next < words.size()) {
      in.word = {.valid = true, .data = words[next], .last = next + 1 == words.size()};
    }
    const EncoderOutput out = encoder->cycle(in);
    next += moves(in.word, out.word_ready);
    if (moves(out.zero, in.zero_ready)) streams.zero.push_back(out.zero.data);
    if (moves(out.plane, in.plane_ready)) streams.plane.push_back(out.plane.data);
    zero_ended |= moves(out.zero, in.zero_ready) && out.zero.last;
    plane_ended |= moves(out.plane, in.plane_ready) && out.plane.last;
  }
  EXPECT_EQ(streams, expected);

  auto decoder = std::make_unique<Decoder>(p);
  Words decoded;
  std::size_t zero = 0;
  std::size_t plane = 0;
  for (bool counted = false; decoded.size() < words.size();) {
    auto successor = std::make_unique<Decoder>(p);
    successor->registers().scan_in(decoder->registers().scan_out());
    decoder = std::move(successor);
    DecoderInput in{.count = {.valid = !counted, .data = 3000},
                    .zero = {},
                    .plane = {},
                    .word_ready = random() % 4 > 0};
    if (zero < streams.zero.size()) {
      in.zero = {true, streams.zero[zero], zero + 1 == streams.zero.size()};
    }
    if (plane < streams.plane.size()) {
      in.plane = {true, streams.plane[plane], plane + 1 == streams.plane.size()};
    }
    const DecoderOutput out = decoder->cycle(in);
    counted |= out.count_ready;
    zero += moves(in.zero, out.zero_ready);
    plane += moves(in.plane, out.plane_ready);
    if (moves(out.word, in.word_ready)) decoded.push_back(out.word.data);
  }
  EXPECT_EQ(decoded, words);
}

// ------------------------------------------------------------------------------ bit-exactness

TEST(HardwareModel, EqualsTheGoldenStreams) {
  std::ifstream file(EBPC_GOLDEN_DIR "/ebpc_streams.json");
  ASSERT_TRUE(file) << EBPC_GOLDEN_DIR;
  const auto bytes_of = [](const std::string& hex) {
    std::vector<std::uint8_t> bytes;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
      bytes.push_back(static_cast<std::uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    }
    return bytes;
  };
  Random random(2);
  int cases = 0;
  for (const auto& golden : nlohmann::json::parse(file)) {
    SCOPED_TRACE(golden["name"].get<std::string>());
    const Parameters p = parameters(golden["word_bits"], golden["block_size"], golden["signed"],
                                    golden["max_zero_run"]);
    Words words;
    for (const std::int64_t value : golden["words"]) {
      words.push_back(
          static_cast<std::uint32_t>(static_cast<std::uint64_t>(value) & low_ones(p.word_bits)));
    }
    if (words.empty()) continue;  // no transmission without a word: there is no beat to be the last
    const Streams expected{
        stream_words(p, bytes_of(golden["zero_stream"]), golden["zero_stream_bits"]),
        stream_words(p, bytes_of(golden["plane_stream"]), golden["plane_stream_bits"])};
    for (const Rates& rates : {Rates{}, random_rates(random)}) {
      Encoder encoder(p);
      EXPECT_EQ(encode_in_hardware(encoder, p, words, rates, random), expected);
      Decoder decoder(p);
      EXPECT_EQ(decode_in_hardware(decoder, p, expected, words.size(), rates, random), words);
    }
    ++cases;
  }
  EXPECT_GT(cases, 240);
}

TEST(HardwareModel, StallsOnAnyPortChangeNoBit) {
  Random random(3);
  const Parameters p;
  for (const double density : {0.1, 0.5, 0.9, 1.0}) {
    for (int repeat = 0; repeat < 10; ++repeat) {
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

TEST(HardwareModel, EveryWidthAndBlockSizeSignedAndUnsigned) {
  Random random(5);
  for (const int word_bits : {2, 4, 8, 12, 16, 31, 32}) {
    for (const int block_size : {2, 4, 5, 8, 16, 32}) {
      for (const bool is_signed : {true, false}) {
        const Parameters p = parameters(word_bits, block_size, is_signed);
        expect_both_ways(p, any_words(p, 400, 0.7, random), {}, {}, random);
        expect_both_ways(p, relu_like(p, 400, 0.6, random), random_rates(random),
                         random_rates(random), random);
      }
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

TEST(HardwareModel, RefusesWhatItDoesNotSupport) {
  EXPECT_THROW(Encoder(parameters(1, 8)), Error);
  EXPECT_THROW(Encoder(parameters(8, 64)), Error);
  Parameters reused;
  reused.base = Base::reused;
  EXPECT_THROW(Encoder{reused}, Error);
  EXPECT_THROW(Decoder{reused}, Error);
}

// ----------------------------------------------------------------------------------- throughput

template <class Word>
WordSpan span_of(const std::vector<Word>& words) {
  return {words.data(), words.size(), sizeof(Word)};
}

TEST(Throughput, NearlyAWordACycleOnAReluLikeMap) {
  Random random(11);
  const Parameters p;
  const Words words = relu_like(p, 100'000, 0.6, random);
  const auto values = integers(p, words);
  const EncoderRun encoded = run_encoder(p, span_of(values));
  EXPECT_EQ((Streams{encoded.zero_stream, encoded.plane_stream}), codec_streams(p, words));
  EXPECT_GT(encoded.words_per_cycle(), 0.95);
  EXPECT_LE(encoded.words_per_cycle(), 1.0);
  const DecoderRun decoded = run_decoder(p, encoded.zero_stream, encoded.plane_stream, 100'000);
  EXPECT_EQ(decoded.words, words);
  EXPECT_GT(decoded.words_per_cycle(), 0.95);
  EXPECT_LE(decoded.words_per_cycle(), 1.0);
}

// The worst case: no zero word, and W + 2 symbols a block of N words.
TEST(Throughput, IncompressibleWordsTakeWPlus2CyclesABlock) {
  Random random(12);
  const Parameters p;
  const Words words = any_words(p, 80'000, 1.0, random);
  const auto values = integers(p, words);
  const EncoderRun encoded = run_encoder(p, span_of(values));
  EXPECT_GT(encoded.words_per_cycle(), 0.8);
  EXPECT_LT(encoded.words_per_cycle(), 0.85);
  const DecoderRun decoded = run_decoder(p, encoded.zero_stream, encoded.plane_stream, 80'000);
  EXPECT_GT(decoded.words_per_cycle(), 0.8);
  EXPECT_LT(decoded.words_per_cycle(), 0.85);
}

TEST(Throughput, EveryCycleIsAccountedFor) {
  Random random(13);
  const Parameters p;
  const auto values = integers(p, any_words(p, 20'000, 0.8, random));
  for (const int bits_per_cycle : {0, 4, 8, 16}) {
    const MemoryPort memory{.bits_per_cycle = bits_per_cycle, .burst_bytes = 16, .fifo_words = 32};
    const EncoderRun encoded = run_encoder(p, span_of(values), memory);
    const EncoderStatistics& e = encoded.statistics;
    EXPECT_EQ(e.cycles,
              e.words + e.starved + e.zero_packer + e.symbol_coder + e.plane_packer + e.ending);
    EXPECT_EQ(e.words, values.size());
    EXPECT_EQ(e.plane_words, encoded.plane_stream.size());
    EXPECT_EQ(encoded.plane.words, encoded.plane_stream.size());
    const DecoderRun decoded =
        run_decoder(p, encoded.zero_stream, encoded.plane_stream, 20'000, memory);
    EXPECT_EQ(integers(p, decoded.words), values);
    const DecoderStatistics& d = decoded.statistics;
    EXPECT_EQ(d.cycles, d.words + d.idle + d.word_output + d.zero_unpacker + d.symbol_decoder +
                            d.plane_unpacker + d.ending);
    for (const StreamTraffic& traffic :
         {encoded.zero, encoded.plane, decoded.zero, decoded.plane}) {
      std::uint64_t words = 0;
      for (std::size_t k = 0; k < traffic.bursts.size(); ++k) words += k * traffic.bursts[k];
      EXPECT_LE(words, traffic.words);  // the last element stands for longer bursts as well
      EXPECT_LE(traffic.fifo_high_water, 32u);
    }
  }
}

TEST(Throughput, ANarrowMemorySetsThePace) {
  Random random(14);
  const Parameters p;
  const auto values = integers(p, relu_like(p, 50'000, 0.8, random));
  const EncoderRun free = run_encoder(p, span_of(values));
  const EncoderRun narrow =
      run_encoder(p, span_of(values), {.bits_per_cycle = 2, .burst_bytes = 64, .fifo_words = 128});
  EXPECT_EQ(narrow.zero_stream, free.zero_stream);
  EXPECT_EQ(narrow.plane_stream, free.plane_stream);
  const double bits = 8.0 * static_cast<double>(free.zero_stream.size() + free.plane_stream.size());
  EXPECT_NEAR(static_cast<double>(narrow.statistics.cycles), bits / 2, 0.03 * bits / 2);
  EXPECT_EQ(narrow.plane.fifo_high_water, 128u);
}

}  // namespace
}  // namespace ebpc::hardware
