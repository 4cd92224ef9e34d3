// Raw streams that are not what they should be: an error that says where, and never a step outside
// of the memory that was given.

#include <string>
#include <vector>

#include "ebpc/baselines.h"
#include "ebpc/kernels/dispatch.h"
#include "support/reference_codec.h"
#include "support/test_data.h"

namespace ebpc::test {
namespace {

constexpr Parameters plain{8, true, 8, 16, Base::sent};
constexpr Parameters reused{8, true, 8, 16, Base::reused};

Streams streams_of(const std::string& zeros, const std::string& planes) {
  Streams streams{{}, packed(zeros), packed(planes)};
  streams.bits = {zeros.size(), planes.size()};
  return streams;
}

std::string format_error(const Parameters& p, const Streams& streams, std::size_t words) {
  return error_of(ErrorCode::format, [&] { decode_values(p, streams, words); });
}

std::string format_error(const Parameters& p, const std::string& zeros, const std::string& planes,
                         std::size_t words) {
  return format_error(p, streams_of(zeros, planes), words);
}

const std::string base_5 = binary(5, 8);

TEST(MalformedStream, TheHandWrittenStreamIsValidBeforeItIsMadeWrong) {
  // Eight fives have no deltas: a base and a run of 7 + 2 zero planes.
  EXPECT_EQ(decode_values(plain, streams_of("11111111", base_5 + "001" + "111"), 8), Values(8, 5));
}

TEST(MalformedStream, AZeroPlaneRunPastTheTopPlane) {
  const std::string expected =
      "plane_stream at byte 0 (bit 0): expected a run of zero planes that ends within the block, "
      "found a longer run";
  // A single zero plane leaves 8, and this run has 9.
  EXPECT_EQ(format_error(plain, "11111111", base_5 + "01" + "001111", 8), expected);
  EXPECT_EQ(format_error(reused, "11111111", "01001111", 8), expected);
}

TEST(MalformedStream, AnIndexPastTheEndOfThePlane) {
  const std::string expected =
      "plane_stream at byte 0 (bit 0): expected the index of a one inside the bit plane, found an "
      "index past its end";
  const std::string rest = "001111";
  EXPECT_EQ(format_error(plain, "11111111", base_5 + "00011" + "111" + rest, 8), expected);
  EXPECT_EQ(format_error(plain, "11111111", base_5 + "00010" + "110" + rest, 8), expected);
  EXPECT_EQ(format_error(plain, "11111111", base_5 + "00010" + "111" + rest, 8), expected);
  EXPECT_EQ(format_error(reused, "11111111", "00010111" + rest, 8), expected);
  const Parameters five{8, true, 5, 16, Base::reused};
  for (const std::string index : {"101", "110", "111"}) {
    EXPECT_EQ(format_error(five, "11111", "00011" + index + rest, 5), expected);
  }
}

TEST(MalformedStream, TheLastIndexInsideThePlaneIsFine) {
  // The run after it (8 planes) keeps the plane as it is: a delta of -1.
  EXPECT_EQ(decode_values(plain, streams_of("11111111", base_5 + "00011110" + "001110"), 8),
            (Values{5, 5, 5, 5, 5, 5, 5, 4}));
  EXPECT_EQ(decode_values(plain, streams_of("11111111", base_5 + "00010101" + "001110"), 8),
            (Values{5, 5, 5, 5, 5, 5, 4, 3}));
  EXPECT_EQ(decode_values(reused, streams_of("11111111", "00011000" + std::string("001110")), 8),
            Values(8, -1));
}

TEST(MalformedStream, AZeroRunPastTheLastWord) {
  EXPECT_EQ(format_error(plain, "00111", "", 7),  // a run of 8
            "zero_stream at byte 0 (bit 0): expected a zero run within the words that are left, "
            "found a longer run");
  EXPECT_EQ(format_error(plain,
                         "01111"
                         "01111"
                         "00001",
                         "", 33),
            "zero_stream at byte 1 (bit 10): expected a zero run within the words that are left, "
            "found a longer run");
}

TEST(MalformedStream, OnesInThePadding) {
  EXPECT_EQ(format_error(plain,
                         "00111"
                         "001",
                         "", 8),
            "zero_stream at byte 0 (bit 5): expected zero bits as padding, found a one bit");
  EXPECT_EQ(format_error(plain, "11111111",
                         base_5 + "001111"
                                  "01",
                         8),
            "plane_stream at byte 1 (bit 14): expected zero bits as padding, found a one bit");
}

TEST(MalformedStream, BytesBehindTheEnd) {
  EXPECT_EQ(format_error(plain,
                         "00111"
                         "000"
                         "00000000",
                         "", 8),
            "zero_stream at byte 0 (bit 5): expected the end of the stream, found more bytes");
  EXPECT_EQ(format_error(plain, "00111", "00000000", 8),
            "plane_stream at byte 0 (bit 0): expected the end of the stream, found more bytes");
}

TEST(MalformedStream, AStreamThatEndsEarly) {
  const std::string rest = "expected more bits, found the end of the stream";
  EXPECT_EQ(format_error(plain, "", "", 1), "zero_stream at byte 0 (bit 0): " + rest);
  EXPECT_EQ(format_error(plain, "00111", "", 9), "zero_stream at byte 0 (bit 5): " + rest);
  EXPECT_EQ(format_error(plain, "11111111", "", 8), "plane_stream at byte 0 (bit 0): " + rest);
  EXPECT_EQ(format_error(plain, "1111111111111111", base_5 + "001111" + "00", 16),
            "plane_stream at byte 1 (bit 14): " + rest);
}

TEST(MalformedStream, BitsAndBytesThatDisagree) {
  Streams streams = streams_of("00111", "");
  streams.bits.zero = 9;
  EXPECT_EQ(format_error(plain, streams, 8), "zero_stream must have 2 bytes for 9 bits, got 1");
  streams.bits = {5, 1};
  EXPECT_EQ(format_error(plain, streams, 8), "plane_stream must have 1 bytes for 1 bits, got 0");
  streams.bits = {5, ~std::uint64_t{0}};
  EXPECT_EQ(
      format_error(plain, streams, 8),
      "plane_stream must have 2305843009213693952 bytes for 18446744073709551615 bits, got 0");
}

TEST(MalformedStream, TruncationAtEveryByteAndExtensionAreErrors) {
  Random random(11);
  for (int round = 0; round < 60; ++round) {
    const Parameters p = random_parameters(random, 2 + round % 31, round % 2 == 0);
    SCOPED_TRACE(text(p));
    const Values values = random_values(random, p, 60);
    const Streams whole = encode_values(p, values);
    for (std::uint64_t bytes = 0; bytes < whole.zero.size(); ++bytes) {
      Streams cut = whole;
      cut.zero.resize(bytes);
      cut.bits.zero = 8 * bytes;
      EXPECT_NE(format_error(p, cut, values.size()), "");
    }
    for (std::uint64_t bytes = 0; bytes < whole.plane.size(); ++bytes) {
      Streams cut = whole;
      cut.plane.resize(bytes);
      cut.bits.plane = 8 * bytes;
      EXPECT_NE(format_error(p, cut, values.size()), "");
    }
    for (const std::uint8_t extra : {0x00, 0xFF}) {
      Streams longer = whole;
      longer.zero.push_back(extra);
      longer.bits.zero = 8 * longer.zero.size();
      EXPECT_NE(format_error(p, longer, values.size()), "");
      longer = whole;
      longer.plane.push_back(extra);
      longer.bits.plane = 8 * longer.plane.size();
      EXPECT_NE(format_error(p, longer, values.size()), "");
    }
  }
}

TEST(MalformedStream, AnyOtherNumberOfBitsWithinTheLastByte) {
  // 5 bits of the zero stream's first byte, and 14 of the plane stream's two.
  const std::string zeros = "11111";
  const std::string planes = base_5 + "001111";
  ASSERT_EQ(decode_values(plain, streams_of(zeros, planes), 5), Values(5, 5));
  const auto error = [&](std::uint64_t zero_bits, std::uint64_t plane_bits) {
    Streams streams = streams_of(zeros, planes);
    streams.bits = {zero_bits, plane_bits};
    return format_error(plain, streams, 5);
  };
  for (std::uint64_t bits = 1; bits <= 8; ++bits) {
    if (bits == 5) continue;
    EXPECT_EQ(error(bits, 14),
              bits < 5 ? "zero_stream at byte 0 (bit " + std::to_string(bits) +
                             "): expected more bits, found the end of the stream"
                       : "zero_stream at byte 0 (bit 5): expected the end of the stream, found "
                         "more bits");
  }
  for (std::uint64_t bits = 9; bits <= 16; ++bits) {
    if (bits == 14) continue;
    EXPECT_EQ(error(5, bits),
              bits < 14 ? "plane_stream at byte 1 (bit " + std::to_string(bits) +
                              "): expected more bits, found the end of the stream"
                        : "plane_stream at byte 1 (bit 14): expected the end of the stream, found "
                          "more bits");
  }
}

TEST(MalformedStream, EveryMethodAndKernelRefusesTheSameNumbersOfBits) {
  Random random(15);
  const Values values = random_values(random, plain, 301);
  const Bytes memory = stored(values, 1, true);
  const std::string active = active_kernel().name;
  for (const Kernel* kernel : supported_kernels()) {
    use_kernel(kernel->name);
    for (const std::string_view name : method_names) {
      SCOPED_TRACE(std::string(kernel->name) + " " + std::string(name));
      const Method method = method_named(name);
      Streams streams;
      streams.bits =
          encode(method, plain, {memory.data(), values.size(), 1}, streams.zero, streams.plane);
      const auto decode_with = [&](std::uint64_t zero_bits, std::uint64_t plane_bits) {
        Bytes out(values.size());
        decode(method, plain, streams.zero, zero_bits, streams.plane, plane_bits,
               {out.data(), values.size(), 1});
        return out;
      };
      const auto refuses = [&](std::uint64_t zero_bits, std::uint64_t plane_bits) {
        EXPECT_NE(error_of(ErrorCode::format, [&] { decode_with(zero_bits, plane_bits); }), "");
      };
      EXPECT_EQ(decode_with(streams.bits.zero, streams.bits.plane), memory);
      for (std::uint64_t other = 0; other < 8; ++other) {
        const std::uint64_t zero_bits = streams.bits.zero / 8 * 8 + other;
        const std::uint64_t plane_bits = streams.bits.plane / 8 * 8 + other;
        if (zero_bits != streams.bits.zero) refuses(zero_bits, streams.bits.plane);
        if (plane_bits != streams.bits.plane) refuses(streams.bits.zero, plane_bits);
      }
    }
  }
  use_kernel(active);
}

/// Decodes with guards around both streams and the words. Whether it was valid.
bool decodes_inside_its_memory(const Parameters& p, const Bytes& zero, const Bytes& plane,
                               std::size_t words, GuardedBytes::Guard guard) {
  const int bytes_per_word = bytes_for_word(p.word_bits);
  const GuardedBytes zeros(zero, guard), planes(plane, guard);
  const GuardedBytes out(Bytes(words * static_cast<std::size_t>(bytes_per_word)), guard);
  const DecodeJob job{zeros.span().data(),
                      zero.size(),
                      planes.span().data(),
                      plane.size(),
                      {out.span().data(), words, bytes_per_word}};
  return decode_jobs(p, {&job, 1}).status.ok();
}

TEST(MalformedStream, NothingOutsideOfTheMemoryIsTouchedByValidStreams) {
  Random random(12);
  for (int round = 0; round < 200; ++round) {
    const Parameters p = random_parameters(random, 2 + round % 31, round % 2 == 0);
    SCOPED_TRACE(text(p));
    const Values values = random_values(random, p, random() % 150);
    const Streams streams = encode_values(p, values);
    for (const auto guard : {GuardedBytes::Guard::before, GuardedBytes::Guard::behind}) {
      EXPECT_TRUE(decodes_inside_its_memory(p, streams.zero, streams.plane, values.size(), guard));
    }
  }
}

TEST(MalformedStream, NothingOutsideOfTheMemoryIsTouchedByAnyBytes) {
  Random random(13);
  int valid = 0;
  for (int round = 0; round < 4000; ++round) {
    const Parameters p = random_parameters(random, 2 + round % 31, round % 2 == 0);
    SCOPED_TRACE(text(p));
    Bytes zero(random() % 20), plane(random() % 200);
    for (auto& byte : zero) byte = static_cast<std::uint8_t>(random());
    for (auto& byte : plane) byte = static_cast<std::uint8_t>(random() & random());
    valid += decodes_inside_its_memory(
        p, zero, plane, random() % 200,
        round % 2 == 0 ? GuardedBytes::Guard::before : GuardedBytes::Guard::behind);
  }
  EXPECT_LT(valid, 400);  // noise is hardly ever a stream
}

TEST(MalformedStream, EveryFlippedBitIsAnErrorOrGivesWords) {
  Random random(14);
  for (const Parameters& p : {plain, reused, Parameters{12, false, 5, 4, Base::sent}}) {
    const Values values = random_values(random, p, 100);
    const Streams streams = encode_values(p, values);
    for (std::size_t bit = 0; bit < 8 * (streams.zero.size() + streams.plane.size()); ++bit) {
      Bytes zero = streams.zero, plane = streams.plane;
      const std::size_t byte = bit / 8;
      auto& flipped = byte < zero.size() ? zero[byte] : plane[byte - zero.size()];
      flipped ^= static_cast<std::uint8_t>(1 << (bit % 8));
      decodes_inside_its_memory(p, zero, plane, values.size(), GuardedBytes::Guard::behind);
    }
  }
}

}  // namespace
}  // namespace ebpc::test
