#include "ebpc/bit_stream.h"

#include <string>
#include <utility>
#include <vector>

#include "support/reference_codec.h"
#include "support/test_data.h"

namespace ebpc::test {
namespace {

using Codes = std::vector<std::pair<std::uint64_t, int>>;

Codes random_codes(Random& random, std::size_t count) {
  Codes codes;
  while (codes.size() < count) {
    const int bits = 1 + static_cast<int>(random() % 64);
    codes.emplace_back(random() >> (64 - bits), bits);
  }
  return codes;
}

std::string text_of(const Codes& codes) {
  std::string text;
  for (const auto& [code, bits] : codes) text += binary(static_cast<std::int64_t>(code), bits);
  return text;
}

TEST(BitStream, WritesTheMostSignificantBitFirstAndPadsWithZeros) {
  Bytes out(2, 0xFF);
  BitWriter writer(out.data());
  writer.put(1, 1);
  writer.put(0b001, 3);
  writer.put(0b10110, 5);
  EXPECT_EQ(writer.bits(), 9U);
  writer.flush();
  EXPECT_EQ(out, (Bytes{0b10011011, 0}));
}

TEST(BitStream, AnEmptyStreamWritesNothing) {
  Bytes out(1, 0xA5);
  BitWriter writer(out.data());
  writer.flush();
  EXPECT_EQ(writer.bits(), 0U);
  EXPECT_EQ(out[0], 0xA5);
}

TEST(BitStream, RandomCodesOfEveryLengthComeOutBitForBit) {
  Random random(1);
  for (int round = 0; round < 300; ++round) {
    const Codes codes = random_codes(random, random() % 40);
    const std::string text = text_of(codes);
    Bytes out(bytes_for_bits(text.size()));
    BitWriter writer(out.data());
    BitCounter counter;
    for (const auto& [code, bits] : codes) {
      writer.put(code, bits);
      counter.put(code, bits);
    }
    EXPECT_EQ(writer.bits(), text.size());
    EXPECT_EQ(counter.bits(), text.size());
    writer.flush();
    ASSERT_EQ(out, packed(text));

    BitReader reader(out.data(), out.size());
    for (const auto& [code, bits] : codes) ASSERT_EQ(reader.take(bits), code);
    EXPECT_EQ(reader.position(), text.size());
    EXPECT_FALSE(reader.overrun());
  }
}

TEST(BitStream, TheWriterTouchesNoByteBehindTheStream) {
  for (int bits = 1; bits <= 200; ++bits) {
    const GuardedBytes guarded(Bytes(bytes_for_bits(static_cast<std::uint64_t>(bits)), 0),
                               GuardedBytes::Guard::behind);
    BitWriter writer(guarded.span().data());
    for (int i = 0; i < bits; ++i) writer.put(1, 1);
    writer.flush();
    EXPECT_EQ(Bytes(guarded.span().begin(), guarded.span().end()),
              packed(std::string(static_cast<std::size_t>(bits), '1')));
  }
}

TEST(BitStream, TheWindowIsRightAtEveryPositionAndZeroPastTheEnd) {
  Random random(2);
  for (std::size_t size = 0; size <= 24; ++size) {
    Bytes bytes(size);
    std::string text;
    for (auto& byte : bytes) {
      byte = static_cast<std::uint8_t>(random());
      text += binary(byte, 8);
    }
    text += std::string(200, '0');
    for (const auto guard : {GuardedBytes::Guard::before, GuardedBytes::Guard::behind}) {
      const GuardedBytes guarded(bytes, guard);
      BitReader reader(guarded.span().data(), size);
      for (std::size_t at = 0; at < 8 * size + 100; ++at, reader.skip(1)) {
        ASSERT_EQ(binary(static_cast<std::int64_t>(reader.window()), 64), text.substr(at, 64))
            << "bit " << at << " of " << size << " bytes";
        ASSERT_EQ(reader.overrun(), at > 8 * size);
      }
    }
  }
}

TEST(BitStream, TakingPastTheEndGivesZerosAndIsNoticed) {
  const Bytes bytes{0xFF};
  BitReader reader(bytes.data(), bytes.size());
  EXPECT_EQ(reader.take(8), 0xFFU);
  EXPECT_FALSE(reader.overrun());
  EXPECT_EQ(reader.take(64), 0U);
  EXPECT_TRUE(reader.overrun());
}

TEST(BitStream, BytesForBitsRoundsUpWithoutOverflow) {
  EXPECT_EQ(bytes_for_bits(0), 0U);
  EXPECT_EQ(bytes_for_bits(1), 1U);
  EXPECT_EQ(bytes_for_bits(8), 1U);
  EXPECT_EQ(bytes_for_bits(9), 2U);
  EXPECT_EQ(bytes_for_bits(~std::uint64_t{0}), std::uint64_t{1} << 61);
}

TEST(BitStream, LoadsAndStoresHaveTheByteOrderOfTheirNames) {
  const Bytes bytes{1, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_EQ(load_big_endian(bytes.data()), 0x0102030405060708U);
  EXPECT_EQ(load_little_endian(bytes.data()), 0x0807060504030201U);
  Bytes out(8);
  store_big_endian(out.data(), 0x0102030405060708);
  EXPECT_EQ(out, bytes);
}

}  // namespace
}  // namespace ebpc::test
