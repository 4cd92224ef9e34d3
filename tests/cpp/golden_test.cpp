// The golden streams through the codec and through what it is tested against; each kernel has them
// in kernels_test.cpp.

#include <string>

#include "ebpc/baselines.h"
#include "ebpc/encoder.h"
#include "support/golden_cases.h"
#include "support/reference_codec.h"
#include "support/test_data.h"

namespace ebpc::test {
namespace {

TEST(Golden, EncodingGivesTheStreamsBitForBit) {
  for (const GoldenCase& golden : golden_cases()) {
    for (const Base base : bases) {
      SCOPED_TRACE(golden.name + ": " + text(golden.with(base)));
      const Streams streams = encode_values(golden.with(base), golden.values);
      EXPECT_EQ(streams.bits, golden.streams(base).bits);
      EXPECT_EQ(streams.zero, golden.streams(base).zero);
      EXPECT_EQ(streams.plane, golden.streams(base).plane);
    }
  }
}

// The one that kernels are tested against.
TEST(Golden, ThePlainEncoderGivesTheStreamsBitForBit) {
  for (const GoldenCase& golden : golden_cases()) {
    for (const Base base : bases) {
      const Parameters p = golden.with(base);
      SCOPED_TRACE(golden.name + ": " + text(p));
      const int bytes_per_word = bytes_for_word(p.word_bits);
      const Bytes memory = stored(golden.values, bytes_per_word, p.is_signed);
      Streams streams{
          {}, Bytes(golden.streams(base).zero.size()), Bytes(golden.streams(base).plane.size())};
      const WordSpan words{memory.data(), golden.values.size(), bytes_per_word};
      ASSERT_EQ(code_transmission(p, words, BitCounter(), BitCounter()), golden.streams(base).bits);
      code_transmission(p, words, BitWriter(streams.zero.data()), BitWriter(streams.plane.data()));
      EXPECT_EQ(streams.zero, golden.streams(base).zero);
      EXPECT_EQ(streams.plane, golden.streams(base).plane);
    }
  }
}

TEST(Golden, DecodingGivesTheWords) {
  for (const GoldenCase& golden : golden_cases()) {
    for (const Base base : bases) {
      SCOPED_TRACE(golden.name + ": " + text(golden.with(base)));
      EXPECT_EQ(decode_values(golden.with(base), golden.streams(base), golden.values.size()),
                golden.values);
    }
  }
}

TEST(Golden, CountingGivesTheBitsOfTheStreams) {
  for (const GoldenCase& golden : golden_cases()) {
    for (const Base base : bases) {
      SCOPED_TRACE(golden.name + ": " + text(golden.with(base)));
      EXPECT_EQ(count_values(golden.with(base), golden.values), golden.streams(base).bits);
    }
  }
}

TEST(Golden, BaselinesCountAndWriteTheirBits) {
  for (const GoldenCase& golden : golden_cases()) {
    SCOPED_TRACE(golden.name);
    const Parameters& p = golden.parameters;
    const int bytes_per_word = bytes_for_word(p.word_bits);
    const Bytes memory = stored(golden.values, bytes_per_word, p.is_signed);
    const WordSpan words{memory.data(), golden.values.size(), bytes_per_word};
    ASSERT_EQ(golden.baseline_bits.size(), 4U);
    for (const auto& [name, bits] : golden.baseline_bits.items()) {
      EXPECT_EQ(count_bits(method_named(name), p, words).total(), bits.get<std::uint64_t>())
          << name;
      Bytes positions, values;
      EXPECT_EQ(encode(method_named(name), p, words, positions, values).total(),
                bits.get<std::uint64_t>())
          << name;
    }
    EXPECT_EQ(count_bits(Method::none, p, words).total(),
              golden.values.size() * static_cast<std::uint64_t>(p.word_bits));
    EXPECT_EQ(count_bits(Method::ebpc, p, words), golden.sent.bits);
  }
}

// So that the tests of other parameters, which have the reference alone, stand on the same ground.
TEST(Golden, TheReferenceCodecGivesTheStreamsToo) {
  for (const GoldenCase& golden : golden_cases()) {
    for (const Base base : bases) {
      const Parameters p = golden.with(base);
      SCOPED_TRACE(golden.name + ": " + text(p));
      const std::string zeros = reference_zero_stream(p, golden.values);
      const std::string planes = reference_plane_stream(p, without_zeros(p, golden.values));
      EXPECT_EQ(zeros.size(), golden.streams(base).bits.zero);
      EXPECT_EQ(planes.size(), golden.streams(base).bits.plane);
      EXPECT_EQ(packed(zeros), golden.streams(base).zero);
      EXPECT_EQ(packed(planes), golden.streams(base).plane);
    }
  }
}

}  // namespace
}  // namespace ebpc::test
