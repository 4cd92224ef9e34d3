// Whole transmissions: what is encoded decodes to the same words, and the streams are those of the
// format's text, for parameters far beyond the golden ones.

#include "ebpc/codec.h"

#include <string>
#include <vector>

#include "ebpc/baselines.h"
#include "support/reference_codec.h"
#include "support/test_data.h"

namespace ebpc::test {
namespace {

/// Encodes, compares both streams with the reference's, decodes and compares the words.
void expect_round_trip(const Parameters& p, const Values& values) {
  SCOPED_TRACE(text(p) + ", " + std::to_string(values.size()) + " words");
  const std::string zeros = reference_zero_stream(p, values);
  const std::string planes = reference_plane_stream(p, without_zeros(p, values));
  const Streams streams = encode_values(p, values);
  ASSERT_EQ(streams.bits, (StreamBits{zeros.size(), planes.size()}));
  ASSERT_EQ(streams.zero, packed(zeros));
  ASSERT_EQ(streams.plane, packed(planes));
  ASSERT_EQ(count_values(p, values), streams.bits);
  ASSERT_EQ(decode_values(p, streams, values.size()), values);
}

template <class Test>
void for_each_width(Test&& test) {
  for (int word_bits = min_word_bits; word_bits <= max_word_bits; ++word_bits) {
    for (const bool is_signed : {true, false}) {
      ASSERT_NO_FATAL_FAILURE(test(word_bits, is_signed));
    }
  }
}

constexpr std::array bases{Base::sent, Base::reused};

TEST(Codec, RandomWordsOfEveryWidthComeBack) {
  Random random(3);
  for_each_width([&](int word_bits, bool is_signed) {
    for (int round = 0; round < 60; ++round) {
      const Parameters p = random_parameters(random, word_bits, is_signed);
      ASSERT_NO_FATAL_FAILURE(expect_round_trip(p, random_values(random, p, random() % 500)));
    }
  });
}

TEST(Codec, EveryBlockSizeAndRunLengthComesBack) {
  Random random(4);
  for (int block_size = min_block_size; block_size <= max_block_size; ++block_size) {
    for (const Base base : bases) {
      const int max_zero_run = 2 << (block_size % 16);
      const Parameters p{8, true, block_size, max_zero_run, base};
      ASSERT_NO_FATAL_FAILURE(expect_round_trip(p, random_values(random, p, 300)));
      const Parameters wide{32, true, block_size, max_zero_run, base};
      ASSERT_NO_FATAL_FAILURE(expect_round_trip(wide, random_values(random, wide, 300)));
    }
  }
}

TEST(Codec, TransmissionsCutOffAtEveryLengthComeBack) {
  Random random(5);
  for (const int block_size : {2, 3, 7, 8, 9, 16, 63, 64}) {
    for (const Base base : bases) {
      const Parameters p{8, true, block_size, 16, base};
      for (std::size_t length = 0; length <= 70; ++length) {
        Values none_zero = random_values(random, p, length);
        for (auto& value : none_zero) value = value == 0 ? 1 : value;
        ASSERT_NO_FATAL_FAILURE(expect_round_trip(p, none_zero));
        ASSERT_NO_FATAL_FAILURE(expect_round_trip(p, random_values(random, p, length)));
        ASSERT_NO_FATAL_FAILURE(expect_round_trip(p, Values(length, 0)));
      }
    }
  }
}

TEST(Codec, ZeroRunsAroundTheLongestSymbolComeBack) {
  for (int log2 = 1; log2 <= 16; ++log2) {
    const int longest = 1 << log2;
    const Parameters p{8, true, 8, longest, Base::sent};
    for (const int run : {1, longest - 1, longest, longest + 1, 2 * longest - 1, 2 * longest,
                          2 * longest + 1, 3 * longest}) {
      const Values zeros(static_cast<std::size_t>(run), 0);
      Values between = zeros;
      between.insert(between.begin(), 7);
      between.push_back(-7);
      ASSERT_NO_FATAL_FAILURE(expect_round_trip(p, zeros));
      ASSERT_NO_FATAL_FAILURE(expect_round_trip(p, between));
    }
  }
}

TEST(Codec, ZeroRunsCrossTheEncodersStepsOf64Words) {
  for (std::size_t first = 0; first <= 66; ++first) {
    for (const std::size_t run : {1, 2, 15, 16, 17, 62, 63, 64, 65, 130}) {
      Values values(first, 1);
      values.insert(values.end(), run, 0);
      values.insert(values.end(), 3, 2);
      ASSERT_NO_FATAL_FAILURE(expect_round_trip({8, true, 8, 16, Base::sent}, values));
      ASSERT_NO_FATAL_FAILURE(expect_round_trip({8, true, 8, 64, Base::reused}, values));
    }
  }
}

TEST(Codec, ExtremeWordsOfEveryWidthComeBack) {
  for_each_width([&](int word_bits, bool is_signed) {
    for (const int block_size : {2, 8, 33, 64}) {
      for (const Base base : bases) {
        const Parameters p{word_bits, is_signed, block_size, 16, base};
        const std::int64_t low = smallest_word(p);
        const std::int64_t high = largest_word(p);
        Values minimum(70, low), maximum(70, high), alternating, steps, none_zero;
        for (int i = 0; i < 70; ++i) {
          alternating.push_back(i % 2 == 0 ? low : high);
          steps.push_back(i % 3 == 0 ? 0 : i % 3 == 1 ? high : low);
          none_zero.push_back(1 + i % high);
        }
        for (const Values& values : {minimum, maximum, alternating, steps, none_zero}) {
          ASSERT_NO_FATAL_FAILURE(expect_round_trip(p, values));
        }
        ASSERT_NO_FATAL_FAILURE(expect_round_trip(p, Values(70, 0)));
      }
    }
  });
}

TEST(Codec, NarrowWordsInWiderMemoryGiveTheSameStreams) {
  Random random(6);
  for (const bool is_signed : {true, false}) {
    const Parameters p{6, is_signed, 8, 16, Base::sent};
    const Values values = random_values(random, p, 200);
    const Streams expected = encode_values(p, values);
    for (const int bytes_per_word : {1, 2, 4}) {
      const Bytes memory = stored(values, bytes_per_word, is_signed);
      Streams streams;
      streams.bits =
          encode(p, {memory.data(), values.size(), bytes_per_word}, streams.zero, streams.plane);
      EXPECT_EQ(streams.zero, expected.zero);
      EXPECT_EQ(streams.plane, expected.plane);
      Bytes decoded(memory.size());
      decode(p, streams.zero, streams.bits.zero, streams.plane, streams.bits.plane,
             {decoded.data(), values.size(), bytes_per_word});
      EXPECT_EQ(decoded, memory);
    }
  }
}

TEST(Codec, AnotherZeroWordGivesTheStreamsOfTheMapWithoutItUpToBasesAndTheLastBlock) {
  Random random(9);
  for (int round = 0; round < 200; ++round) {
    // A rectified map of unsigned words, and the same map with a zero point.
    Parameters p = random_parameters(random, 8, false);
    p.zero = 0;
    Values map = random_values(random, p, random() % 500);
    const auto zero_point = static_cast<std::int64_t>(random() % 100);
    for (auto& value : map) value = std::min<std::int64_t>(value, 255 - zero_point);
    Values shifted = map;
    for (auto& value : shifted) value += zero_point;
    Parameters with_zero_point = p;
    with_zero_point.zero = zero_point;
    SCOPED_TRACE(text(with_zero_point));
    const Streams expected = encode_values(p, map);
    const Streams found = encode_values(with_zero_point, shifted);
    ASSERT_EQ(found.zero, expected.zero);
    if (p.base == Base::reused) continue;  // the first block starts from the word 0
    // Whole blocks have as many bits: they differ in their bases alone.
    Values words = without_zeros(p, map);
    words.resize(words.size() - words.size() % static_cast<std::size_t>(p.block_size));
    const std::uint64_t whole_bits = count_values(p, words).plane;
    for (auto& value : words) value += zero_point;
    with_zero_point.zero = 0;
    for (auto& value : words) value = std::max<std::int64_t>(value, 1);
    ASSERT_EQ(count_values(with_zero_point, words).plane, whole_bits);
  }
}

TEST(Codec, TheWordZeroIsAWordLikeAnyOtherWhereAnotherIsTheZero) {
  const Parameters p{8, true, 8, 16, Base::sent, -128};
  ASSERT_NO_FATAL_FAILURE(expect_round_trip(p, {0, 0, -128, 1, -128, -128, 0, 127}));
  EXPECT_EQ(count_values(p, Values(32, -128)).plane, 0U);
  EXPECT_EQ(count_values(p, Values(32, 0)).zero, 32U);
}

TEST(Codec, AZeroThatIsNoWordIsRefused) {
  const auto message = [](const Parameters& p) {
    return error_of(ErrorCode::argument, [&] { validate(p); });
  };
  EXPECT_EQ(message({8, true, 8, 16, Base::sent, 128}), "zero must be from -128 to 127, got 128");
  EXPECT_EQ(message({5, false, 8, 16, Base::sent, -1}), "zero must be from 0 to 31, got -1");
}

TEST(Codec, PlainBitPlaneCompressionCountsAllWordsWithItsOwnCodes) {
  Random random(7);
  for_each_width([&](int word_bits, bool is_signed) {
    const Parameters p = random_parameters(random, word_bits, is_signed);
    const Values values = random_values(random, p, 300);
    const int bytes_per_word = bytes_for_word(word_bits);
    const Bytes memory = stored(values, bytes_per_word, is_signed);
    EXPECT_EQ(count_bits(Method::bpc, p, {memory.data(), values.size(), bytes_per_word}).total(),
              reference_plane_stream(p, values, /*single_zero=*/"001", /*zero_run=*/"01").size())
        << text(p);
  });
}

TEST(Codec, StreamsStayBelowTheirUpperBounds) {
  Random random(8);
  for_each_width([&](int word_bits, bool is_signed) {
    for (int round = 0; round < 20; ++round) {
      const Parameters p = random_parameters(random, word_bits, is_signed);
      Values values(300);
      for (auto& value : values) {  // the worst there is: noise, with single zeros
        value = smallest_word(p) + static_cast<std::int64_t>(random() >> (64 - word_bits));
        if (random() % 2 == 0) value = 0;
      }
      const StreamBits bits = count_values(p, values);
      ASSERT_LE(bits.zero, max_zero_stream_bits(p, values.size())) << text(p);
      ASSERT_LE(bits.plane, max_plane_stream_bits(p, values.size())) << text(p);
    }
  });
  Values every_other(301, 0);
  for (std::size_t i = 1; i < every_other.size(); i += 2) every_other[i] = 1;
  for (const int max_zero_run : {2, 16, 65536}) {
    const Parameters p{8, true, 8, max_zero_run, Base::sent};
    EXPECT_EQ(count_values(p, every_other).zero, max_zero_stream_bits(p, every_other.size()));
  }
}

TEST(Codec, AWordThatDoesNotFitIsAnErrorThatSaysWhichAndWhere) {
  const auto message = [](const Parameters& p, std::int64_t word, int bytes_per_word) {
    const Bytes memory = stored({0, 1, word, word}, bytes_per_word, p.is_signed);
    const WordSpan words{memory.data(), 4, bytes_per_word};
    Bytes zero, plane;
    const std::string counted = error_of(ErrorCode::argument, [&] { count_bits(p, words); });
    EXPECT_EQ(error_of(ErrorCode::argument, [&] { encode(p, words, zero, plane); }), counted);
    EXPECT_EQ(error_of(ErrorCode::argument, [&] { count_bits(Method::zvc, p, words); }), counted);
    return counted;
  };
  EXPECT_EQ(message({5, true, 8, 16, Base::sent}, 16, 1),
            "every value must fit into word_bits = 5 (signed), got 16 at index 2");
  EXPECT_EQ(message({5, true, 8, 16, Base::sent}, -17, 2),
            "every value must fit into word_bits = 5 (signed), got -17 at index 2");
  EXPECT_EQ(message({5, false, 8, 16, Base::sent}, 32, 4),
            "every value must fit into word_bits = 5 (unsigned), got 32 at index 2");
  EXPECT_EQ(message({31, true, 8, 16, Base::sent}, INT32_MIN, 4),
            "every value must fit into word_bits = 31 (signed), got -2147483648 at index 2");
}

TEST(Codec, TheLargestAndSmallestWordsJustFit) {
  for_each_width([&](int word_bits, bool is_signed) {
    const Parameters p{word_bits, is_signed, 8, 16, Base::sent};
    const Bytes memory = stored({smallest_word(p), largest_word(p)}, 4, is_signed);
    EXPECT_EQ(first_misfit(p, {memory.data(), 2, 4}), 2U) << text(p);
    if (word_bits == 32) return;
    const Bytes too_large = stored({0, largest_word(p) + 1}, 4, is_signed);
    EXPECT_EQ(first_misfit(p, {too_large.data(), 2, 4}), 1U) << text(p);
    if (!is_signed) return;
    const Bytes too_small = stored({0, smallest_word(p) - 1}, 4, is_signed);
    EXPECT_EQ(first_misfit(p, {too_small.data(), 2, 4}), 1U) << text(p);
  });
}

}  // namespace
}  // namespace ebpc::test
