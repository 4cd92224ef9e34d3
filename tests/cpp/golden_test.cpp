// The golden streams: made outside of this project, most of them checked against the authors'
// published hardware.

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ebpc/baselines.h"
#include "support/reference_codec.h"
#include "support/test_data.h"

namespace ebpc::test {
namespace {

struct GoldenCase {
  std::string name;
  Parameters parameters;  // base: sent
  Values values;
  Streams sent;
  Streams reused;
  nlohmann::json baseline_bits;

  Parameters with(Base base) const {
    Parameters p = parameters;
    p.base = base;
    return p;
  }
  const Streams& streams(Base base) const { return base == Base::sent ? sent : reused; }
};

Bytes from_hex(const std::string& text) {
  Bytes bytes;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    bytes.push_back(static_cast<std::uint8_t>(std::stoi(text.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

const std::vector<GoldenCase>& golden_cases() {
  static const std::vector<GoldenCase> cases = [] {
    std::ifstream file(EBPC_GOLDEN_DIR "/ebpc_streams.json");
    std::vector<GoldenCase> read;
    for (const auto& each : nlohmann::json::parse(file)) {
      GoldenCase& golden = read.emplace_back();
      golden.name = each.at("name");
      golden.parameters = {each.at("word_bits"), each.at("signed"), each.at("block_size"),
                           each.at("max_zero_run"), Base::sent};
      golden.values = each.at("words").get<Values>();
      const Bytes zero = from_hex(each.at("zero_stream"));
      const std::uint64_t zero_bits = each.at("zero_stream_bits");
      golden.sent = {
          {zero_bits, each.at("plane_stream_bits")}, zero, from_hex(each.at("plane_stream"))};
      golden.reused = {{zero_bits, each.at("plane_stream_reused_base_bits")},
                       zero,
                       from_hex(each.at("plane_stream_reused_base"))};
      golden.baseline_bits = each.at("baseline_bits");
    }
    return read;
  }();
  return cases;
}

constexpr std::array bases{Base::sent, Base::reused};

TEST(Golden, ThereAreExactly253Cases) { EXPECT_EQ(golden_cases().size(), 253U); }

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
