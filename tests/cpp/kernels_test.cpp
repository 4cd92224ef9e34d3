// Every kernel against the plain encoder and the golden streams: encoding, counting, checksums.
// Decoding is in kernels_decode_test.cpp.

#include <gtest/gtest.h>

#include "support/golden_cases.h"
#include "support/kernel_testing.h"

namespace ebpc::test {
namespace {

constexpr std::uint8_t guard = 0xA5;
constexpr std::size_t guard_bytes = 64;
constexpr std::size_t fenced_bytes = std::size_t{1} << 22;

/// Where an encoder puts one stream: fenced right after the slack that it may use, and guarded by
/// known bytes in front.
class StreamBuffer {
 public:
  std::uint8_t* prepare(std::size_t bytes) {
    std::uint8_t* begin = memory_.last(guard_bytes + bytes + kernel_slack_bytes);
    std::fill_n(begin, guard_bytes, guard);
    stream_ = {begin + guard_bytes, bytes};
    return stream_.data();
  }
  std::vector<std::uint8_t> bytes() const { return {stream_.begin(), stream_.end()}; }
  bool front_is_untouched() const {
    return std::all_of(stream_.data() - guard_bytes, stream_.data(),
                       [](std::uint8_t byte) { return byte == guard; });
  }

 private:
  FencedMemory memory_{fenced_bytes};
  std::span<std::uint8_t> stream_;
};

class EncodeTest : public KernelTest {
 protected:
  /// Codes words, at the end and at the beginning of fenced memory, into fenced memory.
  void expect_streams(const Words& words, const Streams& expected) {
    for (const bool at_end : {true, false}) {
      const std::span<std::uint8_t> placed = words_memory_.place(words.bytes, at_end);
      const WordSpan span{placed.data(), words.count(), words.bytes_per_word};
      std::uint8_t* zero_stream = zero_.prepare(expected.zero.size());
      std::uint8_t* plane_stream = plane_.prepare(expected.plane.size());
      const StreamBits bits = kernel().encode(words.p, span, zero_stream, plane_stream);
      ASSERT_EQ(bits.zero, expected.bits.zero) << words;
      ASSERT_EQ(bits.plane, expected.bits.plane) << words;
      ASSERT_TRUE(zero_.bytes() == expected.zero) << words;
      ASSERT_TRUE(plane_.bytes() == expected.plane) << words;
      ASSERT_TRUE(zero_.front_is_untouched() && plane_.front_is_untouched()) << words;
      const StreamBits counted = kernel().count(words.p, span);
      ASSERT_EQ(counted.zero, expected.bits.zero) << words;
      ASSERT_EQ(counted.plane, expected.bits.plane) << words;
    }
  }

  void expect_plain_streams(const Words& words) { expect_streams(words, encode_plainly(words)); }

 private:
  FencedMemory words_memory_{fenced_bytes};
  StreamBuffer zero_;
  StreamBuffer plane_;
};

class BpcTest : public KernelTest {
 protected:
  void expect_plain_stream(const Words& words) {
    const WordSpan span{words.bytes.data(), words.count(), words.bytes_per_word};
    std::vector<std::uint8_t> expected(
        bytes_for_bits(max_plane_stream_bits(words.p, words.count())) + 1);
    const std::uint64_t bits =
        code_all_words(words.p, isca2016_codes, span, BitWriter(expected.data()));
    expected.resize(bytes_for_bits(bits));
    std::uint8_t* stream = stream_.prepare(expected.size());
    ASSERT_EQ(kernel().encode_bpc(words.p, span, stream), bits) << words;
    ASSERT_TRUE(stream_.bytes() == expected) << words;
    ASSERT_TRUE(stream_.front_is_untouched()) << words;
    ASSERT_EQ(kernel().count_bpc(words.p, span), bits) << words;
  }

 private:
  StreamBuffer stream_;
};

TEST_P(BpcTest, EqualsThePlainEncoderForAllSettings) {
  KernelRandom random(7);
  for (const Parameters& p : all_settings()) {
    const Pattern pattern = all_patterns[random.below(std::size(all_patterns))];
    const int bytes_per_word = std::max(bytes_for_word(p.word_bits), 1 << random.below(3));
    expect_plain_stream(make_words(p, bytes_per_word, pattern, 1 + random.below(700), random));
    if (HasFatalFailure()) return;
  }
}

TEST_P(BpcTest, EqualsThePlainEncoderForWordsOfSeveralChunks) {
  KernelRandom random(8);
  for (const Parameters& p : common_settings()) {
    for (const Pattern pattern : {Pattern::half_zero, Pattern::smooth, Pattern::all_zero}) {
      expect_plain_stream(make_words(p, bytes_for_word(p.word_bits), pattern,
                                     4096 * (1 + random.below(3)) + random.below(100), random));
      if (HasFatalFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, BpcTest, ::testing::ValuesIn(known_kernels()), kernel_name);

TEST_P(EncodeTest, GivesTheGoldenStreams) {
  for (const GoldenCase& golden : golden_cases()) {
    SCOPED_TRACE(golden.name);
    for (const Base base : bases) {
      const Parameters p = golden.with(base);
      expect_streams(words_from(p, bytes_for_word(p.word_bits), golden.values),
                     golden.streams(base));
    }
  }
}

TEST_P(EncodeTest, EqualsThePlainEncoderForAllSettings) {
  KernelRandom random(1);
  for (const Parameters& p : all_settings()) {
    const Pattern pattern = all_patterns[random.below(std::size(all_patterns))];
    // Often also in a wider type than needed.
    const int bytes_per_word = std::max(bytes_for_word(p.word_bits), 1 << random.below(3));
    expect_plain_streams(make_words(p, bytes_per_word, pattern, random.below(700), random));
    if (HasFatalFailure()) return;
  }
}

TEST_P(EncodeTest, EqualsThePlainEncoderForAllPatternsAndDensities) {
  KernelRandom random(2);
  for (const Parameters& p : common_settings()) {
    for (const Pattern pattern : all_patterns) {
      expect_plain_streams(
          make_words(p, bytes_for_word(p.word_bits), pattern, 4096 + random.below(100), random));
      if (HasFatalFailure()) return;
    }
    for (int density = 1; density < 100; density += 7) {
      Words words = make_words(p, bytes_for_word(p.word_bits), Pattern::smooth, 2000, random);
      const auto size = static_cast<std::size_t>(words.bytes_per_word);
      for (std::size_t i = 0; i < words.count(); ++i) {
        if (random.below(100) >= static_cast<std::uint64_t>(density)) {
          std::fill_n(words.bytes.data() + i * size, size, std::uint8_t{0});
        }
      }
      expect_plain_streams(words);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(EncodeTest, EqualsThePlainEncoderForEveryLengthAroundBoundaries) {
  KernelRandom random(3);
  std::vector<std::size_t> lengths;
  for (std::size_t n = 0; n <= 200; ++n) lengths.push_back(n);
  for (const std::size_t boundary : {256U, 512U, 1024U, 2048U, 4096U, 8192U}) {
    for (std::size_t n = boundary - 2; n <= boundary + 2; ++n) lengths.push_back(n);
  }
  for (const Parameters& p : common_settings()) {
    for (const std::size_t length : lengths) {
      const Pattern pattern = all_patterns[random.below(std::size(all_patterns))];
      expect_plain_streams(make_words(p, bytes_for_word(p.word_bits), pattern, length, random));
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(EncodeTest, EqualsThePlainEncoderForTransmissionsFarOverASegment) {
  KernelRandom random(4);
  for (const Parameters& p : common_settings()) {
    for (const Pattern pattern : {Pattern::feature_map, Pattern::sparse, Pattern::none_zero}) {
      expect_plain_streams(
          make_words(p, bytes_for_word(p.word_bits), pattern, 60000 + random.below(100), random));
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(EncodeTest, CutsZeroRunsOfEveryLengthLikePortable) {
  KernelRandom random(5);
  for (int run_bits = 1; run_bits <= 16; ++run_bits) {
    const Parameters p{8, true, 8, 1 << run_bits, Base::sent};
    for (const std::size_t multiple : {1U, 2U, 3U}) {
      const std::size_t run = multiple << run_bits;
      for (const std::size_t length : {run - 1, run, run + 1}) {
        // The run stands at the end, at the beginning, and between words at odd places.
        for (const std::size_t front : {std::size_t{0}, 1 + random.below(70)}) {
          for (const std::size_t back : {std::size_t{0}, 1 + random.below(70)}) {
            std::vector<std::int64_t> values(front + length + back, 7);
            std::fill_n(values.begin() + static_cast<std::ptrdiff_t>(front), length, 0);
            expect_plain_streams(words_from(p, 1, values));
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

class Crc32cTest : public KernelTest {};

TEST_P(Crc32cTest, GivesTheValuesOfRfc3720) {
  const auto crc_of = [&](const std::vector<std::uint8_t>& bytes) {
    return kernel().crc32c(0, bytes.data(), bytes.size());
  };
  std::vector<std::uint8_t> ascending(32);
  for (std::size_t i = 0; i < ascending.size(); ++i) ascending[i] = static_cast<std::uint8_t>(i);
  const std::string_view digits = "123456789";
  EXPECT_EQ(crc_of(std::vector<std::uint8_t>(32, 0x00)), 0x8A9136AAU);
  EXPECT_EQ(crc_of(std::vector<std::uint8_t>(32, 0xFF)), 0x62A8AB43U);
  EXPECT_EQ(crc_of(ascending), 0x46DD794EU);
  EXPECT_EQ(crc_of({ascending.rbegin(), ascending.rend()}), 0x113FDB5CU);
  EXPECT_EQ(crc_of({digits.begin(), digits.end()}), 0xE3069283U);
}

TEST_P(Crc32cTest, EqualsThePlainEncoderForEveryLengthAndAlignment) {
  KernelRandom random(6);
  std::vector<std::uint8_t> bytes(20000);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random.bits());
  FencedMemory memory(bytes.size());
  const auto expect_equal = [&](std::size_t offset, std::size_t length) {
    const auto start = static_cast<std::uint32_t>(random.bits());
    // Up against the fence after it: the alignment follows from the length.
    const auto placed = memory.place({bytes.data() + offset, length}, true);
    const std::uint32_t expected = portable_kernel.crc32c(start, placed.data(), length);
    ASSERT_EQ(kernel().crc32c(start, placed.data(), length), expected) << length;
    ASSERT_EQ(kernel().crc32c(start, bytes.data() + offset, length), expected) << length;
  };
  for (std::size_t length = 0; length <= 300; ++length) {
    for (std::size_t offset = 0; offset < 16; ++offset) expect_equal(offset, length);
  }
  for (int i = 0; i < 300; ++i) {
    const std::size_t offset = random.below(64);
    expect_equal(offset, random.below(bytes.size() - offset));
  }
}

TEST_P(Crc32cTest, ContinuesFromAnyCut) {
  KernelRandom random(7);
  std::vector<std::uint8_t> bytes(1000);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random.bits());
  const std::uint32_t whole = kernel().crc32c(0, bytes.data(), bytes.size());
  for (std::size_t cut = 0; cut <= bytes.size(); cut += 13) {
    const std::uint32_t front = kernel().crc32c(0, bytes.data(), cut);
    EXPECT_EQ(kernel().crc32c(front, bytes.data() + cut, bytes.size() - cut), whole);
  }
}

TEST(SupportedKernels, AreAllTestedHere) {
  for (const Kernel* kernel : supported_kernels()) {
    const auto known = known_kernels();
    EXPECT_TRUE(std::any_of(known.begin(), known.end(),
                            [&](const KnownKernel& each) {
                              return each.cpu_can_run &&
                                     std::string_view(each.name) == kernel->name;
                            }))
        << kernel->name << " is missing from known_kernels() or claims to run on a CPU that cannot";
  }
}

TEST(SupportedKernels, EndWithPortable) {
  ASSERT_FALSE(supported_kernels().empty());
  EXPECT_EQ(supported_kernels().back(), &portable_kernel);
}

INSTANTIATE_TEST_SUITE_P(Kernel, EncodeTest, ::testing::ValuesIn(known_kernels()), kernel_name);
INSTANTIATE_TEST_SUITE_P(Kernel, Crc32cTest, ::testing::ValuesIn(known_kernels()), kernel_name);

}  // namespace
}  // namespace ebpc::test
