// The methods that EBPC is compared with: their streams are those of the format's text, decode to
// the same words, and bad ones are errors.

#include "ebpc/baselines.h"

#include <array>
#include <limits>
#include <string>

#include "support/reference_codec.h"
#include "support/test_data.h"

namespace ebpc::test {
namespace {

constexpr std::array methods{Method::none, Method::zvc, Method::zero_rle, Method::csc, Method::bpc};

std::string name_of(Method method) {
  return std::string(method_names[static_cast<std::size_t>(method)]);
}

Streams encode_by(Method method, const Parameters& p, const Values& values) {
  const int bytes_per_word = bytes_for_word(p.word_bits);
  const Bytes memory = stored(values, bytes_per_word, p.is_signed);
  Streams streams;
  streams.bits = encode(method, p, {memory.data(), values.size(), bytes_per_word}, streams.zero,
                        streams.plane);
  return streams;
}

Values decode_by(Method method, const Parameters& p, const Streams& streams, std::size_t count) {
  const int bytes_per_word = bytes_for_word(p.word_bits);
  Bytes memory(count * static_cast<std::size_t>(bytes_per_word));
  decode(method, p, streams.zero, streams.bits.zero, streams.plane, streams.bits.plane,
         {memory.data(), count, bytes_per_word});
  return loaded(memory, bytes_per_word, p.is_signed);
}

struct StreamTexts {
  std::string positions;
  std::string values;
};

Streams streams_of(const StreamTexts& texts) {
  return {
      {texts.positions.size(), texts.values.size()}, packed(texts.positions), packed(texts.values)};
}

std::string reference_words(const Parameters& p, const Values& words) {
  std::string stream;
  for (const std::int64_t word : words) stream += binary(word, p.word_bits);
  return stream;
}

StreamTexts reference_csc(const Parameters& p, const Values& values) {
  StreamTexts streams;
  int distance = 0;
  for (const std::int64_t value : values) {
    ++distance;
    if (value == p.zero && distance < 16) continue;
    streams.positions += binary(distance - 1, 4);
    streams.values += binary(value, p.word_bits);
    distance = 0;
  }
  // Entries of zeros alone at the end are not written.
  const std::string filler = binary(15, 4);
  const std::string zero = binary(p.zero, p.word_bits);
  while (streams.values.ends_with(zero)) {
    streams.positions.resize(streams.positions.size() - filler.size());
    streams.values.resize(streams.values.size() - zero.size());
  }
  return streams;
}

StreamTexts reference_streams(Method method, const Parameters& p, const Values& values) {
  switch (method) {
    case Method::zvc: {
      std::string mask;
      for (const std::int64_t value : values) mask += value != p.zero ? '1' : '0';
      return {mask, reference_words(p, without_zeros(p, values))};
    }
    case Method::zero_rle:
      return {reference_zero_stream(p, values), reference_words(p, without_zeros(p, values))};
    case Method::csc:
      return reference_csc(p, values);
    case Method::bpc:
      return {"", reference_plane_stream(p, values, "001", "01")};
    default:
      return {"", reference_words(p, values)};
  }
}

void expect_round_trip(Method method, const Parameters& p, const Values& values) {
  SCOPED_TRACE(name_of(method) + ", " + text(p) + ", " + std::to_string(values.size()) + " words");
  const Streams expected = streams_of(reference_streams(method, p, values));
  const Streams streams = encode_by(method, p, values);
  ASSERT_EQ(streams.bits, expected.bits);
  ASSERT_EQ(streams.zero, expected.zero);
  ASSERT_EQ(streams.plane, expected.plane);

  const int bytes_per_word = bytes_for_word(p.word_bits);
  const Bytes memory = stored(values, bytes_per_word, p.is_signed);
  ASSERT_EQ(count_bits(method, p, {memory.data(), values.size(), bytes_per_word}), streams.bits);
  ASSERT_EQ(decode_by(method, p, streams, values.size()), values);
  EXPECT_NO_THROW(require_bits_for_words(method, p, streams.bits, values.size()));
}

TEST(Baselines, RandomWordsOfEveryWidthComeBack) {
  Random random(21);
  for (int word_bits = min_word_bits; word_bits <= max_word_bits; ++word_bits) {
    for (const bool is_signed : {true, false}) {
      for (const Method method : methods) {
        for (int round = 0; round < 12; ++round) {
          const Parameters p = random_parameters(random, word_bits, is_signed);
          const Values values = random_values(random, p, random() % 400);
          ASSERT_NO_FATAL_FAILURE(expect_round_trip(method, p, values));
        }
      }
    }
  }
}

TEST(Baselines, ShortAndUniformTransmissionsComeBack) {
  for (const Method method : methods) {
    for (std::size_t count = 0; count < 140; ++count) {
      for (const std::int64_t value : {0, 1, -1, -128, 127}) {
        ASSERT_NO_FATAL_FAILURE(expect_round_trip(method, {}, Values(count, value)));
      }
    }
  }
}

TEST(Baselines, ZeroRunsAroundTheReachOfAnIndexComeBack) {
  for (const Method method : methods) {
    for (std::size_t run = 0; run < 70; ++run) {
      Values values(run, 0);
      values.push_back(-3);
      ASSERT_NO_FATAL_FAILURE(expect_round_trip(method, {}, values));
      values.insert(values.end(), run, 0);
      ASSERT_NO_FATAL_FAILURE(expect_round_trip(method, {}, values));
    }
  }
}

TEST(Baselines, EbpcByNameIsTheCodec) {
  Random random(22);
  const Parameters p;
  const Values values = random_values(random, p, 300);
  const Streams streams = encode_by(Method::ebpc, p, values);
  const Streams expected = encode_values(p, values);
  EXPECT_EQ(streams.bits, expected.bits);
  EXPECT_EQ(streams.zero, expected.zero);
  EXPECT_EQ(streams.plane, expected.plane);
  EXPECT_EQ(decode_by(Method::ebpc, p, streams, values.size()), values);
}

TEST(Baselines, AWordThatDoesNotFitIsAnError) {
  const Bytes memory = stored({1, 8}, 1, true);
  const Parameters four_bits{4, true, 8, 16, Base::sent};
  for (const Method method : methods) {
    Bytes zero, plane;
    EXPECT_EQ(error_of(ErrorCode::argument,
                       [&] { encode(method, four_bits, {memory.data(), 2, 1}, zero, plane); }),
              "every value must fit into word_bits = 4 (signed), got 8 at index 1");
  }
}

// ---- Bad streams
// ---------------------------------------------------------------------------------

std::string format_error(Method method, const Streams& streams, std::size_t words,
                         const Parameters& p = {}) {
  return error_of(ErrorCode::format, [&] { decode_by(method, p, streams, words); });
}

std::string format_error(Method method, const std::string& positions, const std::string& values,
                         std::size_t words) {
  return format_error(method, streams_of({positions, values}), words);
}

const std::string five = binary(5, 8);
const std::string ends_early = "expected more bits, found the end of the stream";
const std::string goes_on = "expected the end of the stream, found more bits";

TEST(MalformedBaseline, AStreamThatEndsEarly) {
  EXPECT_EQ(format_error(Method::none, "", five, 2),
            "plane_stream at byte 1 (bit 8): " + ends_early);
  EXPECT_EQ(format_error(Method::zvc, "1", five, 2),
            "zero_stream at byte 0 (bit 1): " + ends_early);
  EXPECT_EQ(format_error(Method::zvc, "11", five, 2),
            "plane_stream at byte 1 (bit 8): " + ends_early);
  EXPECT_EQ(format_error(Method::zero_rle, "00001", five, 3),
            "zero_stream at byte 0 (bit 5): " + ends_early);
  EXPECT_EQ(format_error(Method::csc, "00000000", five, 2),
            "plane_stream at byte 1 (bit 8): " + ends_early);
  EXPECT_EQ(format_error(Method::csc, "000000", five + five, 2),
            "zero_stream at byte 0 (bit 6): " + ends_early);
  EXPECT_EQ(format_error(Method::bpc, "", "", 1), "plane_stream at byte 0 (bit 0): " + ends_early);
}

TEST(MalformedBaseline, AStreamThatGoesOn) {
  EXPECT_EQ(format_error(Method::none, "", five + "0", 1),
            "plane_stream at byte 1 (bit 8): " + goes_on);
  EXPECT_EQ(format_error(Method::none, "0", five, 1), "zero_stream at byte 0 (bit 0): " + goes_on);
  EXPECT_EQ(format_error(Method::bpc, "0", "", 0), "zero_stream at byte 0 (bit 0): " + goes_on);
  EXPECT_EQ(format_error(Method::zvc, "100", five, 2), "zero_stream at byte 0 (bit 2): " + goes_on);
  EXPECT_EQ(format_error(Method::zero_rle, "11", five + five, 1),
            "zero_stream at byte 0 (bit 1): " + goes_on);
  EXPECT_EQ(format_error(Method::csc, "0000", five + five, 1),
            "plane_stream at byte 1 (bit 8): " + goes_on);
}

TEST(MalformedBaseline, OnesInThePadding) {
  for (const Method method : {Method::zvc, Method::zero_rle}) {
    Streams streams = streams_of({"1", five});
    streams.zero[0] |= 1;
    EXPECT_EQ(format_error(method, streams, 1),
              "zero_stream at byte 0 (bit 1): expected zero bits as padding, found a one bit");
  }
}

TEST(MalformedBaseline, AnEntryOrRunPastTheLastWord) {
  EXPECT_EQ(
      format_error(Method::csc, "0001", five, 1),
      "zero_stream at byte 0 (bit 0): expected an entry within the words that are left, found "
      "a later one");
  EXPECT_EQ(
      format_error(Method::csc, "00000000", five + five, 1),
      "zero_stream at byte 0 (bit 4): expected an entry within the words that are left, found "
      "a later one");
  EXPECT_EQ(format_error(Method::zero_rle, "00010", "", 2),
            "zero_stream at byte 0 (bit 0): expected a zero run within the words that are left, "
            "found a longer run");
}

TEST(MalformedBaseline, BitsAndBytesThatDisagree) {
  for (const Method method : methods) {
    Streams streams = streams_of({"", five});
    streams.bits.plane = 9;
    EXPECT_EQ(format_error(method, streams, 1), "plane_stream must have 2 bytes for 9 bits, got 1");
    streams.bits = {std::numeric_limits<std::uint64_t>::max(), 8};
    EXPECT_EQ(
        format_error(method, streams, 1),
        "zero_stream must have 2305843009213693952 bytes for 18446744073709551615 bits, got 0");
  }
}

TEST(MalformedBaseline, EveryOtherNumberOfBitsIsAnError) {
  Random random(23);
  for (int round = 0; round < 20; ++round) {
    const Parameters p = random_parameters(random, 2 + round, round % 2 == 0);
    SCOPED_TRACE(text(p));
    const Values values = random_values(random, p, 60);
    for (const Method method : methods) {
      SCOPED_TRACE(name_of(method));
      const StreamTexts whole = reference_streams(method, p, values);
      for (std::size_t bits = 0; bits < whole.values.size(); ++bits) {
        format_error(method, streams_of({whole.positions, whole.values.substr(0, bits)}),
                     values.size(), p);
      }
      for (std::size_t bits = 0; bits < whole.positions.size(); ++bits) {
        format_error(method, streams_of({whole.positions.substr(0, bits), whole.values}),
                     values.size(), p);
      }
      for (const std::string more : {"0", "1", "00000000"}) {
        format_error(method, streams_of({whole.positions, whole.values + more}), values.size(), p);
        format_error(method, streams_of({whole.positions + more, whole.values}), values.size(), p);
      }
    }
  }
}

/// Decodes with guards around both streams and the words. Whether it was valid.
bool decodes_inside_its_memory(Method method, const Parameters& p, const Streams& streams,
                               std::size_t words, GuardedBytes::Guard guard) {
  const int bytes_per_word = bytes_for_word(p.word_bits);
  const GuardedBytes zeros(streams.zero, guard), planes(streams.plane, guard);
  const GuardedBytes out(Bytes(words * static_cast<std::size_t>(bytes_per_word)), guard);
  try {
    decode(method, p, zeros.span(), streams.bits.zero, planes.span(), streams.bits.plane,
           {out.span().data(), words, bytes_per_word});
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(ErrorCode::format)) << error.what();
    return false;
  }
  return true;
}

TEST(MalformedBaseline, NothingOutsideOfTheMemoryIsTouched) {
  Random random(24);
  for (int round = 0; round < 1500; ++round) {
    const Parameters p = random_parameters(random, 2 + round % 31, round % 2 == 0);
    SCOPED_TRACE(text(p));
    const Values values = random_values(random, p, random() % 100);
    const auto guard = round % 4 < 2 ? GuardedBytes::Guard::before : GuardedBytes::Guard::behind;
    for (const Method method : methods) {
      Streams streams = encode_by(method, p, values);
      EXPECT_TRUE(decodes_inside_its_memory(method, p, streams, values.size(), guard));
      for (auto& byte : streams.zero) {
        if (random() % 8 == 0) byte = static_cast<std::uint8_t>(random());
      }
      for (auto& byte : streams.plane) {
        if (random() % 8 == 0) byte = static_cast<std::uint8_t>(random());
      }
      decodes_inside_its_memory(method, p, streams, values.size(), guard);
      decodes_inside_its_memory(method, p, streams, random() % 200, guard);
    }
  }
}

TEST(MalformedBaseline, TooFewBitsForSoManyWordsAreFoundBeforeMemoryIsNeeded) {
  constexpr std::uint64_t many = std::uint64_t{1} << 60;
  for (const Method method : methods) {
    if (method == Method::csc) continue;  // all words may be zero
    EXPECT_NE(
        error_of(ErrorCode::format, [&] { require_bits_for_words(method, {}, {100, 100}, many); }),
        "");
  }
  EXPECT_EQ(
      error_of(ErrorCode::format,
               [&] { require_bits_for_words(Method::ebpc, {}, {100, 100}, many); }),
      "zero_stream at byte 13: expected more bits for 1152921504606846976 words, found the end "
      "of the stream");
  EXPECT_NO_THROW(require_bits_for_words(Method::csc, {}, {0, 0}, many));
}

}  // namespace
}  // namespace ebpc::test
