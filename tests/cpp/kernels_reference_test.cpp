// Every kernel by itself beside the reference codec, which shares no code with any of them.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "support/kernel_testing.h"
#include "support/reference_codec.h"

namespace ebpc::test {
namespace {

class ReferenceTest : public KernelTest {
 protected:
  /// Encodes and counts words, and decodes what the reference makes of them.
  void expect_reference(const Words& words) {
    const Parameters& p = words.p;
    const test::Values values = test::loaded(words.bytes, words.bytes_per_word, p.is_signed);
    const std::string zero = test::reference_zero_stream(p, values);
    const std::string plane = test::reference_plane_stream(p, test::without_zeros(p, values));
    const StreamBits bits{zero.size(), plane.size()};
    const auto zero_stream = test::packed(zero);
    const auto plane_stream = test::packed(plane);

    const WordSpan span{words.bytes.data(), words.count(), words.bytes_per_word};
    std::vector<std::uint8_t> zero_out(zero_stream.size() + kernel_slack_bytes);
    std::vector<std::uint8_t> plane_out(plane_stream.size() + kernel_slack_bytes);
    ASSERT_EQ(kernel().encode(p, span, zero_out.data(), plane_out.data()), bits) << words;
    ASSERT_TRUE(std::equal(zero_stream.begin(), zero_stream.end(), zero_out.begin())) << words;
    ASSERT_TRUE(std::equal(plane_stream.begin(), plane_stream.end(), plane_out.begin())) << words;
    ASSERT_EQ(kernel().count(p, span), bits) << words;

    std::vector<std::uint8_t> decoded(words.bytes.size(), 0xA5);
    const DecodeJob job{zero_stream.data(),
                        zero_stream.size(),
                        plane_stream.data(),
                        plane_stream.size(),
                        {decoded.data(), words.count(), words.bytes_per_word}};
    ASSERT_EQ(kernel().decode(p, {&job, 1}), 1U) << "handed back: " << words;
    ASSERT_EQ(decoded, words.bytes) << words;
  }
};

TEST_P(ReferenceTest, AgreesForAllSettings) {
  KernelRandom random(1);
  for (const Parameters& p : all_settings()) {
    const Pattern pattern = all_patterns[random.below(std::size(all_patterns))];
    const int bytes_per_word = std::max(bytes_for_word(p.word_bits), 1 << random.below(3));
    expect_reference(make_words(p, bytes_per_word, pattern, 1 + random.below(70), random));
    if (HasFatalFailure()) return;
  }
}

TEST_P(ReferenceTest, AgreesForAllPatternsOfCommonSettings) {
  KernelRandom random(2);
  for (const Parameters& p : common_settings()) {
    for (const Pattern pattern : all_patterns) {
      expect_reference(make_words(p, bytes_for_word(p.word_bits), pattern, 600, random));
      if (HasFatalFailure()) return;
    }
  }
}

/// Lanes of AVX2 and AVX-512 take turns from one length of job to another.
TEST_P(ReferenceTest, AgreesForAWholeSegment) {
  KernelRandom random(3);
  for (const int word_bits : {8, 16}) {
    const Parameters p{word_bits, word_bits == 8, 8, 16, Base::sent};
    for (const Pattern pattern : {Pattern::feature_map, Pattern::none_zero, Pattern::runs}) {
      expect_reference(make_words(p, word_bits / 8, pattern, 4096, random));
      if (HasFatalFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernel, ReferenceTest, ::testing::ValuesIn(known_kernels()), kernel_name);

}  // namespace
}  // namespace ebpc::test
