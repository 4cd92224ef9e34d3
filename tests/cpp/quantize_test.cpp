// Every kernel's quantization beside the same in double precision, one value at a time.

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "support/kernel_testing.h"

namespace ebpc::test {
namespace {

std::int64_t expected_word(const Quantization& q, float value, QuantizedValues& expected) {
  const auto quotient = static_cast<double>(value / q.scale);
  const double step = q.to_nearest ? std::nearbyint(quotient) : std::trunc(quotient);
  const double word = step + static_cast<double>(q.zero_point);
  if (word < static_cast<double>(q.smallest_word)) return ++expected.below, q.smallest_word;
  if (word > static_cast<double>(q.largest_word)) return ++expected.above, q.largest_word;
  return static_cast<std::int64_t>(word);
}

class QuantizeTest : public KernelTest {
 protected:
  template <class Word>
  void expect_words(const Quantization& q, const std::vector<float>& values) {
    QuantizedValues expected;
    std::vector<Word> expected_words;
    for (const float value : values) {
      expected_words.push_back(static_cast<Word>(expected_word(q, value, expected)));
    }
    std::vector<Word> words(values.size());
    const QuantizedValues found =
        kernel().quantize(q, values.data(), {words.data(), words.size(), sizeof(Word)});
    EXPECT_TRUE(found.finite);
    EXPECT_EQ(found.below, expected.below);
    EXPECT_EQ(found.above, expected.above);
    EXPECT_EQ(words, expected_words);
  }
};

/// Ties, ends, and what is far beyond them, followed by values of all magnitudes.
std::vector<float> values_around(const Quantization& q, std::size_t count) {
  std::vector<float> values{0.0F, -0.0F, 1e38F, -1e38F, 1e-45F};
  for (const std::int64_t word : {q.smallest_word, q.largest_word, q.zero_point}) {
    for (const double beside : {-1.5, -1.0, -0.75, -0.5, 0.0, 0.5, 0.75, 1.0, 1.5}) {
      const double step = static_cast<double>(word - q.zero_point) + beside;
      values.push_back(static_cast<float>(step) * q.scale);
    }
  }
  KernelRandom random(5);
  while (values.size() < count) {
    const auto bits = static_cast<std::uint32_t>(random.below(std::uint64_t{1} << 32));
    if (const auto value = std::bit_cast<float>(bits); std::isfinite(value)) {
      values.push_back(value);
    }
    values.push_back(static_cast<float>(random.below(1 << 16)) * q.scale / 256);
  }
  values.resize(count);
  return values;
}

TEST_P(QuantizeTest, GivesTheWordsOfPlainArithmetic) {
  const Quantization settings[] = {
      {1, 0, -128, 127, true},         {0.037F, 0, -128, 127, false},
      {0.037F, -128, -128, 127, true}, {3.5F, 31, -128, 127, false},
      {0.25F, 0, 0, 255, true},        {1e-38F, 255, 0, 255, true},
      {0.1F, 0, -2, 1, true},          {0.5F, 0, -32768, 32767, true},
      {7e30F, 0, 0, 65535, false},     {0.01F, 65535, 0, 65535, true},
  };
  for (const Quantization& q : settings) {
    for (const std::size_t count : {0, 1, 31, 500, 5000}) {
      const std::vector<float> values = values_around(q, count);
      if (q.smallest_word >= -128 && q.largest_word <= 255) expect_words<std::uint8_t>(q, values);
      expect_words<std::uint16_t>(q, values);
    }
  }
}

TEST_P(QuantizeTest, TellsWhatIsNotFiniteWhereverItIs) {
  for (const float bad : {std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity(), std::nanf("")}) {
    for (const std::size_t at : {0, 77, 4999}) {
      std::vector<float> values(5000, 1.0F);
      values[at] = bad;
      std::vector<std::int8_t> words(values.size());
      EXPECT_FALSE(kernel().quantize({}, values.data(), {words.data(), words.size(), 1}).finite);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernel, QuantizeTest, ::testing::ValuesIn(known_kernels()), kernel_name);

}  // namespace
}  // namespace ebpc::test
