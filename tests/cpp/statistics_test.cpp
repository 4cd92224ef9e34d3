// Statistics of the code: a worked example, counts taken from the stream's text, and sums.

#include "ebpc/statistics.h"

#include <map>
#include <numeric>
#include <string>

#include "ebpc/encoder.h"
#include "support/reference_codec.h"
#include "support/test_data.h"

namespace ebpc::test {
namespace {

Statistics statistics_of(const Parameters& p, const Values& values) {
  const int bytes_per_word = bytes_for_word(p.word_bits);
  const Bytes memory = stored(values, bytes_per_word, p.is_signed);
  return collect_statistics(p, {memory.data(), values.size(), bytes_per_word});
}

std::uint64_t count_of(const Statistics& statistics, PlaneSymbol symbol) {
  return statistics.symbols[static_cast<std::size_t>(symbol)];
}

TEST(Statistics, TheWordsOneToEight) {
  const Statistics found = statistics_of({}, {1, 2, 3, 4, 5, 6, 7, 8});
  EXPECT_EQ(found.words, 8U);
  EXPECT_EQ(found.nonzero_words, 8U);
  EXPECT_EQ(found.blocks, 1U);
  // Plane 0 is all ones and plane 1 is zero, so both X[0] and X[1] are all ones.
  EXPECT_EQ(count_of(found, PlaneSymbol::all_ones), 2U);
  EXPECT_EQ(count_of(found, PlaneSymbol::zero_run), 1U);
  EXPECT_EQ(found.planes[static_cast<std::size_t>(PlaneSymbol::zero_run)], 7U);
  EXPECT_EQ(found.bursts[7], 1U);
  EXPECT_EQ(found.deltas[1], 7U);
  EXPECT_EQ(found.zero_runs, std::vector<std::uint64_t>(16));
}

TEST(Statistics, RunsAreCountedAsTheyAreCutAndBurstsAsTheyAre) {
  Values values(40, 0);                             // 16, 16, 8
  values.insert(values.end(), 100, 3);              // a burst over mask borders
  values.insert(values.end(), {0, 0, 5, 0, 6, 7});  // 2, 1
  const Statistics found = statistics_of({}, values);
  EXPECT_EQ(found.zero_runs[15], 2U);
  EXPECT_EQ(found.zero_runs[7], 1U);
  EXPECT_EQ(found.zero_runs[1], 1U);
  EXPECT_EQ(found.zero_runs[0], 1U);
  EXPECT_EQ(found.bursts[longest_burst - 1], 1U);
  EXPECT_EQ(found.bursts[0], 1U);
  EXPECT_EQ(found.bursts[1], 1U);
  EXPECT_EQ(found.nonzero_words, 103U);
}

TEST(Statistics, OfNoWordsAllCountsAreZero) {
  Statistics nothing;
  nothing.zero_runs.resize(16);
  EXPECT_EQ(statistics_of({}, {}), nothing);
}

TEST(Statistics, DeltasReachTheirFullWidth) {
  const Statistics found = statistics_of({32, true, 2, 16, Base::sent}, {INT32_MIN, INT32_MAX});
  EXPECT_EQ(found.deltas[32], 1U);
}

/// The symbols of a plane stream, read from its text.
std::map<PlaneSymbol, std::uint64_t> symbols_in(const Parameters& p, const std::string& stream) {
  std::map<PlaneSymbol, std::uint64_t> counts;
  const std::size_t index_bits = static_cast<std::size_t>(log2c(p.block_size));
  for (std::size_t at = 0; at < stream.size();) {
    if (p.base == Base::sent) at += static_cast<std::size_t>(p.word_bits);
    for (int planes = 0; planes <= p.word_bits; ++planes) {
      const auto starts = [&](const std::string& code) {
        return stream.compare(at, code.size(), code) == 0;
      };
      if (starts("1")) {
        ++counts[PlaneSymbol::uncompressed];
        at += 1 + static_cast<std::size_t>(plane_bits(p));
      } else if (starts("01")) {
        ++counts[PlaneSymbol::single_zero];
        at += 2;
      } else if (starts("001")) {
        ++counts[PlaneSymbol::zero_run];
        const auto length_bits = static_cast<std::size_t>(log2c(p.word_bits));
        planes += 1 + std::stoi(stream.substr(at + 3, length_bits), nullptr, 2);
        at += 3 + length_bits;
      } else if (starts("00000")) {
        ++counts[PlaneSymbol::all_ones];
        at += 5;
      } else if (starts("00001")) {
        ++counts[PlaneSymbol::plane_zero];
        at += 5;
      } else {
        ++counts[starts("00010") ? PlaneSymbol::two_ones : PlaneSymbol::single_one];
        at += 5 + index_bits;
      }
    }
  }
  return counts;
}

TEST(Statistics, SymbolsAreThoseOfTheStream) {
  Random random(31);
  for (int round = 0; round < 300; ++round) {
    const Parameters p = random_parameters(random, 2 + round % 31, round % 2 == 0);
    SCOPED_TRACE(text(p));
    const Values values = random_values(random, p, random() % 400);
    const Statistics found = statistics_of(p, values);
    auto expected = symbols_in(p, reference_plane_stream(p, without_zeros(p, values)));
    for (int symbol = 0; symbol < plane_symbol_count; ++symbol) {
      const auto kind = static_cast<PlaneSymbol>(symbol);
      EXPECT_EQ(count_of(found, kind), expected[kind]) << symbol;
    }
    const auto block_size = static_cast<std::uint64_t>(p.block_size);
    EXPECT_EQ(found.blocks, (found.nonzero_words + block_size - 1) / block_size);
    EXPECT_EQ(std::accumulate(found.planes.begin(), found.planes.end(), std::uint64_t{0}),
              found.blocks * static_cast<std::uint64_t>(plane_count(p)));
    EXPECT_EQ(std::accumulate(found.deltas.begin(), found.deltas.end(), std::uint64_t{0}),
              found.blocks * static_cast<std::uint64_t>(plane_bits(p)));
    std::uint64_t zeros = 0;
    for (std::size_t i = 0; i < found.zero_runs.size(); ++i) zeros += (i + 1) * found.zero_runs[i];
    EXPECT_EQ(zeros + found.nonzero_words, values.size());
  }
}

/// Looks on and keeps nothing.
struct Onlooker : Unobserved {};

// An observer keeps the encoder from its quick ways, which are for some settings only.
TEST(Statistics, AnObserverChangesNoBit) {
  Random random(33);
  for (int round = 0; round < 400; ++round) {
    Parameters p = random_parameters(random, round % 4 < 2 ? 8 : 16, round % 2 == 0);
    p.block_size = round % 8 < 4 ? 8 : 2 + round % 7;
    if (round % 3 == 0) p.max_zero_run = 16;
    SCOPED_TRACE(text(p));
    const Values values = random_values(random, p, random() % 1000);
    const int bytes_per_word = bytes_for_word(p.word_bits);
    const Bytes memory = stored(values, bytes_per_word, p.is_signed);
    Streams watched;
    watched.zero.resize(bytes_for_bits(max_zero_stream_bits(p, values.size())));
    watched.plane.resize(bytes_for_bits(max_plane_stream_bits(p, values.size())));
    watched.bits = code_transmission(p, {memory.data(), values.size(), bytes_per_word},
                                     BitWriter(watched.zero.data()),
                                     BitWriter(watched.plane.data()), Onlooker());
    watched.zero.resize(bytes_for_bits(watched.bits.zero));
    watched.plane.resize(bytes_for_bits(watched.bits.plane));
    const Streams expected = encode_values(p, values);
    EXPECT_EQ(watched.zero, expected.zero);
    EXPECT_EQ(watched.plane, expected.plane);
  }
}

TEST(Statistics, Add) {
  Random random(32);
  const Parameters p;
  const Values first = random_values(random, p, 200);
  const Values second = random_values(random, p, 300);
  Statistics sum = statistics_of(p, first);
  sum += statistics_of(p, second);
  EXPECT_EQ(sum.words, 500U);
  Statistics other_order = statistics_of(p, second);
  other_order += statistics_of(p, first);
  EXPECT_EQ(sum, other_order);
  Statistics with_nothing = statistics_of(p, first);
  with_nothing += statistics_of(p, {});
  EXPECT_EQ(with_nothing, statistics_of(p, first));
}

}  // namespace
}  // namespace ebpc::test
