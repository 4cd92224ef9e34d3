// What the hardware model is made of, counted, and how many words a cycle it moves.

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ebpc/hardware/inventory.h"
#include "support/hardware_testbench.h"

namespace ebpc::test {
namespace {

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

// Published: under 300 bits.
TEST(Inventory, PublishedParametersTake204And201Bits) {
  using Units = std::map<std::string, int>;
  const auto bits_by_unit = [](const RegisterBank& bank) {
    Units bits;
    for (const RegisterGroup& group : bank.groups()) bits[group.unit] += group.total_bits();
    return bits;
  };
  const Encoder encoder(Parameters{});
  EXPECT_EQ(encoder.registers().total_bits(), 204);
  EXPECT_EQ(bits_by_unit(encoder.registers()), (Units{{"zero run-length unit", 4},
                                                      {"zero packer", 19},
                                                      {"delta unit", 21},
                                                      {"block buffer", 63},
                                                      {"plane buffer", 71},
                                                      {"symbol coder", 4},
                                                      {"plane packer", 22}}));
  EXPECT_NE(inventory_table(encoder.registers()).find("204"), std::string::npos);
  const Decoder decoder(Parameters{});
  EXPECT_EQ(decoder.registers().total_bits(), 201);
  EXPECT_EQ(bits_by_unit(decoder.registers()), (Units{{"word counter", 24},
                                                      {"zero unpacker", 17},
                                                      {"zero run-length decoder", 4},
                                                      {"plane unpacker", 20},
                                                      {"symbol decoder", 4},
                                                      {"plane buffer", 64},
                                                      {"delta reverse", 68}}));
}

TEST(Inventory, GrowthLawEqualsTheCount) {
  for (const int word_bits : {2, 4, 8, 12, 16, 32}) {
    for (const int block_size : {2, 4, 8, 16, 32}) {
      for (const int max_zero_run : {2, 16, 1 << 16}) {
        for (const Base base : {Base::sent, Base::reused}) {
          if (block_size == 32 && base == Base::reused) continue;  // refused
          const Parameters p = parameters(word_bits, block_size, true, max_zero_run, base);
          EXPECT_EQ(encoder_register_bits(p), Encoder(p).registers().total_bits()) << name_of(p);
          EXPECT_EQ(decoder_register_bits(p), Decoder(p).registers().total_bits()) << name_of(p);
        }
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
  const WordStreams expected = codec_streams(p, words);

  auto encoder = std::make_unique<Encoder>(p);
  WordStreams streams;
  std::size_t next = 0;
  int cycles = 0;
  for (bool zero_ended = false, plane_ended = false; !zero_ended || !plane_ended;) {
    ASSERT_LT(++cycles, 100'000) << "no progress";
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
  cycles = 0;
  for (bool counted = false; decoded.size() < words.size();) {
    ASSERT_LT(++cycles, 100'000) << "no progress";
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

TEST(Throughput, NearlyAWordACycleOnAReluLikeMap) {
  Random random(11);
  const Parameters p;
  const Words words = relu_like(p, 100'000, 0.6, random);
  const auto values = integers(p, words);
  const EncoderRun encoded = run_encoder(p, span_of(values));
  EXPECT_EQ((WordStreams{encoded.zero_stream, encoded.plane_stream}), codec_streams(p, words));
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
}  // namespace ebpc::test
