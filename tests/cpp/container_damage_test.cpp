// Containers that are damaged, or forged with checksums that are right: an error, never a wrong
// tensor, and never a step outside of the memory.

#include <functional>
#include <string>
#include <vector>

#include "ebpc/container_layout.h"
#include "ebpc/kernels/kernel.h"
#include "support/container_data.h"

namespace ebpc::test {
namespace {

using namespace layout;

/// The error of reading these bytes, which is one of format or of checksum; "" if there is none.
/// Nothing outside of the bytes is read, and nothing outside of the words written.
std::string reading_error(const Bytes& bytes) {
  const GuardedBytes container(bytes, GuardedBytes::Guard::behind);
  try {
    const ContainerInfo info = inspect(container.span());
    const GuardedBytes words(
        Bytes(info.words * static_cast<std::uint64_t>(traits(info.tensor.dtype).bytes)),
        GuardedBytes::Guard::behind);
    ContainerReader(container.span()).read(words.span().data(), words.span().size());
  } catch (const Error& error) {
    EXPECT_TRUE(error.code() == ErrorCode::format || error.code() == ErrorCode::checksum);
    const std::string message = error.what();
    EXPECT_EQ(message.find("container at byte "), 0U) << message;
    EXPECT_NE(message.find("expected "), std::string::npos) << message;
    EXPECT_NE(message.find(", found "), std::string::npos) << message;
    return message;
  }
  return "";
}

Bytes small_container(DType dtype, Codec codec = Codec::ebpc) {
  Random random(30);
  const TensorInfo tensor{dtype, MemoryFormat::contiguous, {4, 6}};
  return compressed(tensor, default_parameters(dtype), random_memory(random, dtype, 24), {}, codec);
}

Bytes empty_container(Codec codec = Codec::ebpc) {
  return compressed({DType::int8, MemoryFormat::contiguous, {0}}, default_parameters(DType::int8),
                    {}, {}, codec);
}

template <class Test>
void for_each_container(Test&& test) {
  for (const Codec codec : all_codecs) {
    SCOPED_TRACE("version " + std::to_string(version_of(DType::int8, {codec, {}})));
    for (const DType dtype : all_dtypes) {
      SCOPED_TRACE(traits(dtype).name);
      test(small_container(dtype, codec));
      test(mixed_container(dtype, codec));
    }
    SCOPED_TRACE("empty");
    test(empty_container(codec));
  }
  SCOPED_TRACE("every coding");
  for (const Bytes& container : containers_of_every_coding()) test(container);
}

TEST(DamagedContainer, IsReadWithoutErrorBeforeItIsDamaged) {
  for_each_container([](const Bytes& container) { EXPECT_EQ(reading_error(container), ""); });
}

TEST(DamagedContainer, EveryFlippedBitIsNoticed) {
  std::size_t flips = 0;
  for_each_container([&flips](Bytes container) {
    flips += 8 * container.size();
    for (std::size_t bit = 0; bit < 8 * container.size(); ++bit) {
      const auto flip = static_cast<std::uint8_t>(1 << (bit % 8));
      container[bit / 8] ^= flip;
      ASSERT_NE(reading_error(container), "") << "bit " << bit;
      container[bit / 8] ^= flip;
    }
  });
  RecordProperty("bit_flips", std::to_string(flips));
}

TEST(DamagedContainer, EveryTruncationIsNoticed) {
  std::size_t cuts = 0;
  for_each_container([&cuts](const Bytes& container) {
    cuts += container.size();
    for (std::size_t size = 0; size < container.size(); ++size) {
      ASSERT_NE(reading_error(Bytes(container.begin(),
                                    container.begin() + static_cast<std::ptrdiff_t>(size))),
                "")
          << size;
    }
  });
  RecordProperty("cuts", std::to_string(cuts));
}

TEST(DamagedContainer, EveryExtensionIsNoticed) {
  for_each_container([](Bytes container) {
    for (const std::uint8_t byte : {0x00, 0xFF, 0x89}) {
      Bytes longer = container;
      for (int i = 0; i < 20; ++i) {
        longer.push_back(byte);
        ASSERT_NE(reading_error(longer), "");
      }
    }
  });
}

TEST(DamagedContainer, WhatIsNoContainerIsSaidToBeNone) {
  EXPECT_EQ(reading_error({}),
            "container at byte 0 (magic): expected the eight bytes that begin every container, "
            "found the end after 0 bytes");
  EXPECT_EQ(reading_error(Bytes(100, 0)),
            "container at byte 0 (magic): expected the eight bytes that begin every container, "
            "found other bytes");
  const Bytes container = empty_container();
  EXPECT_EQ(reading_error(Bytes(container.begin(), container.begin() + 20)),
            "container at byte 20 (header): expected at least 52 bytes, found the end");
}

TEST(DamagedContainer, ANewerVersionIsRefusedByName) {
  // Whatever its header looks like: before the checksum, which a newer version may have elsewhere.
  for (const Codec codec : all_codecs) {
    Bytes container = small_container(DType::int8, codec);
    const auto message = [&](std::uint16_t version) {
      store<std::uint16_t>(&container[at_version], version);
      return reading_error(container);
    };
    const std::string expected =
        "container at byte 8 (format version): expected from 1 to 3, which this library reads, "
        "found ";
    EXPECT_EQ(message(4), expected + "4");
    EXPECT_EQ(message(0), expected + "0");
    EXPECT_EQ(message(256), expected + "256");
    EXPECT_EQ(message(65535), expected + "65535");
  }
}

TEST(DamagedContainer, AChangedPayloadNamesItsSegment) {
  Bytes container = mixed_container(DType::int8);
  const std::uint64_t header = inspect(container).header_bytes;
  container.back() ^= 0x80;
  EXPECT_EQ(
      reading_error(container).find("container at byte " + std::to_string(container.size() - 9) +
                                    " (segment 1): checksum expected "),
      0U);
  container.back() ^= 0x80;
  container[header] ^= 1;
  EXPECT_EQ(reading_error(container).find("container at byte " + std::to_string(header) +
                                          " (segment 0): checksum expected "),
            0U);
}

// ---- Forged: the checksums are right
// ---------------------------------------------------------------

void repair_header(Bytes& container, std::uint64_t header_bytes) {
  const std::uint64_t at = header_bytes - checksum_bytes;
  store<std::uint32_t>(&container[at], portable_kernel.crc32c(0, container.data(), at));
}

struct Forgery {
  std::uint64_t at;
  int bytes;  // of the field
  std::uint64_t value;
  std::string message;
};

void expect_forgeries_refused(const Bytes& container, const std::vector<Forgery>& forgeries) {
  const std::uint64_t header_bytes = inspect(container).header_bytes;
  for (const Forgery& forgery : forgeries) {
    Bytes forged = container;
    for (int i = 0; i < forgery.bytes; ++i) {
      forged[forgery.at + static_cast<std::uint64_t>(i)] =
          static_cast<std::uint8_t>(forgery.value >> (8 * i));
    }
    repair_header(forged, header_bytes);
    EXPECT_EQ(reading_error(forged), "container at byte " + forgery.message);
  }
}

TEST(ForgedContainer, EveryFieldIsCheckedWithByteExpectedAndFound) {
  // 24 int8 words in one segment; the shape's two sizes at 48, the segment's entry at 64.
  const Bytes container = small_container(DType::int8);
  const std::string size = std::to_string(container.size());
  ASSERT_EQ(inspect(container).raw_segments, 0U);
  expect_forgeries_refused(
      container,
      {
          {at_dtype, 1, 8, "10 (dtype): expected less than 8, found 8"},
          {at_memory_format, 1, 3, "11 (memory format): expected less than 3, found 3"},
          {at_memory_format, 1, 1, "16 (dimensions of this memory format): expected 4, found 2"},
          {at_memory_format, 1, 2, "16 (dimensions of this memory format): expected 5, found 2"},
          {at_word_bits, 1, 0, "12 (word bits): expected from 2 to 8, found 0"},
          {at_word_bits, 1, 1, "12 (word bits): expected from 2 to 8, found 1"},
          {at_word_bits, 1, 9, "12 (word bits): expected from 2 to 8, found 9"},
          {at_block_size, 1, 1, "13 (block size): expected from 2 to 64, found 1"},
          {at_block_size, 1, 65, "13 (block size): expected from 2 to 64, found 65"},
          {at_max_zero_run, 1, 0, "14 (log2 of max_zero_run): expected from 1 to 16, found 0"},
          {at_max_zero_run, 1, 17, "14 (log2 of max_zero_run): expected from 1 to 16, found 17"},
          {at_base, 1, 2, "15 (base): expected less than 2, found 2"},
          {at_dims, 1, 25, "16 (dimensions): expected less than 25, found 25"},
          {at_segment_words, 1, 13, "17 (log2 of segment words): expected 12, found 13"},
          {at_reserved, 2, 256, "18 (reserved): expected 0, found 256"},
          {at_container_bytes, 8, container.size() + 1,
           "24 (container bytes): expected " + size + ", the bytes given, found " +
               std::to_string(container.size() + 1)},
          {shape_offset(1), 8, ~std::uint64_t{0},
           "48 (shape): expected less than 2^63, found 18446744073709551615"},
          {shape_offset(1), 8, std::uint64_t{1} << 61,
           "48 (shape): expected less than 2^63 bytes, found more"},
          {shape_offset(1), 8, 700, "20 (header bytes): expected room for 2 segments, found 76"},
          {shape_offset(1), 8, 0, "20 (header bytes): expected 68, found 76"},
      });
}

TEST(ForgedContainer, SegmentsAreCheckedAgainstTheirWordsAndThePayload) {
  const Bytes container = small_container(DType::int8);
  const std::uint64_t at = shape_offset(1) + 16;
  const auto entry = [](std::uint32_t coding, std::uint32_t zero_bytes, std::uint32_t plane_bytes) {
    Bytes bytes(8);
    SegmentEntry{coding, zero_bytes, plane_bytes, 0}.write(bytes.data(), 1);
    return load<std::uint32_t>(bytes.data());
  };
  const std::string size = std::to_string(container.size());
  const std::string payload = std::to_string(container.size() - 76);
  expect_forgeries_refused(
      container,
      {
          {at, 4, entry(2, 3, 4),
           "64 (coding of segment 0): expected 0 (raw) or 1 (EBPC), found 2"},
          {at, 4, entry(15, 3, 4),
           "64 (coding of segment 0): expected 0 (raw) or 1 (EBPC), found 15"},
          {at, 4, entry(0, 3, 4), "64 (stream bytes of a raw segment): expected 0, found 7"},
          {at, 4, entry(0, 0, 0),
           "64 (stream bytes of segment 0): expected at most " + payload + ", found 24"},
          {at, 4, entry(1, 12, 12),
           "64 (stream bytes of segment 0): expected less than 24, found 24"},
          {at, 4, entry(1, 16383, 16383),
           "64 (stream bytes of segment 0): expected less than 24, found 32766"},
          {at, 4, entry(1, 11, 12),
           "64 (stream bytes of segment 0): expected at most " + payload + ", found 23"},
          {at, 4, entry(1, 1, 1), "24 (container bytes): expected 78, found " + size},
      });
}

TEST(ForgedContainer, OneVersionIsNotTakenForTheOther) {
  Bytes container = small_container(DType::int8);
  container[at_version] = 2;
  repair_header(container, inspect(small_container(DType::int8)).header_bytes);
  EXPECT_EQ(reading_error(container), "container at byte 13 (block size): expected 0, found 8");
  container = golden_container("v2_coding_05.ebpc");
  container[at_version] = 1;
  repair_header(container, load<std::uint32_t>(&container[at_header_bytes]));
  EXPECT_EQ(reading_error(container),
            "container at byte 13 (block size): expected from 2 to 64, found 0");
}

TEST(ForgedContainer, WhereSegmentsChooseTheHeaderHasNoParameters) {
  expect_forgeries_refused(
      small_container(DType::int8, Codec::automatic),
      {
          {at_word_bits, 1, 9, "12 (word bits): expected from 2 to 8, found 9"},
          {at_block_size, 1, 8, "14 (log2 of max_zero_run): expected from 1 to 16, found 0"},
          {at_max_zero_run, 1, 4, "14 (log2 of max_zero_run): expected 0, found 4"},
          {at_base, 1, 1, "15 (base): expected 0, found 1"},
          {at_segment_words, 1, 13, "17 (log2 of segment words): expected 12, found 13"},
      });
}

TEST(ForgedContainer, StreamsAreCheckedAgainstTheirCoding) {
  const Bytes container = small_container(DType::int8, Codec::automatic);
  const std::uint64_t at = shape_offset(3) + 16;
  ASSERT_EQ(inspect(container).raw_segments, 0U);
  const std::string payload = std::to_string(container.size() - 84);
  const auto numbered = [&](std::uint32_t coding, std::uint32_t zero_bytes,
                            std::uint32_t plane_bytes, const std::string& message) {
    Bytes bytes(12);
    SegmentEntry{coding, zero_bytes, plane_bytes, 0}.write(bytes.data(), 3);
    return Forgery{at, 8, load<std::uint64_t>(bytes.data()), message};
  };
  const auto forgery = [&](ZeroCoding zero, PlaneCoding plane, std::uint32_t zero_bytes,
                           std::uint32_t plane_bytes, const std::string& message) {
    return numbered(SegmentCoding{zero, plane}.number(), zero_bytes, plane_bytes, message);
  };
  using enum ZeroCoding;
  using enum PlaneCoding;
  const std::string segment = "68 (stream bytes of segment 0): expected ";
  expect_forgeries_refused(
      container,
      {
          forgery(none, words, 0, 1, "68 (stream bytes of a raw segment): expected 0, found 1"),
          forgery(none, words, 0, 0, segment + "at most " + payload + ", found 24"),
          forgery(none, blocks_15, 3, 4, segment + "no zero stream, found 3"),
          forgery(none, blocks_63, 0, 0, segment + "a plane stream, found 0"),
          forgery(mask, blocks_31, 2, 4, segment + "3 in the mask, found 2"),
          forgery(mask, words, 4, 0, segment + "3 in the mask, found 4"),
          forgery(runs_16, words, 0, 5, segment + "a zero stream, found 0"),
          forgery(runs_256, blocks_63, 0, 5, segment + "a zero stream, found 0"),
          forgery(mask, words, 3, 21, segment + "less than 24, found 24"),
          forgery(none, blocks_15, 0, 24, segment + "less than 24, found 24"),
          forgery(runs_16, blocks_15, 16383, 16383, segment + "less than 24, found 32766"),
          forgery(runs_256, words, 1, 22, segment + "at most " + payload + ", found 23"),
          forgery(none, blocks_31, 0, 1,
                  "24 (container bytes): expected 85, found " + std::to_string(container.size())),
          numbered(16, 1, 4, segment + "no zero stream, found 1"),
          numbered(16, 0, 0, segment + "a plane stream, found 0"),
          numbered(17, 0, 4, segment + "a zero stream, found 0"),
          numbered(20, 0, 4, segment + "a zero stream, found 0"),
          numbered(21, 0, 4, segment + "a zero stream, found 0"),
          numbered(22, 1, 4,
                   "68 (coding of segment 0): expected less than 22, which this library "
                   "reads, found 22"),
      });
}

TEST(ForgedContainer, StreamBitsMustBeThoseOfTheStreamBytes) {
  const Bytes container = small_container(DType::int8);
  const ContainerInfo info = inspect(container);
  const std::uint64_t bytes = info.container_bytes - info.header_bytes;
  const std::uint64_t plane = info.plane_stream_bits;
  const auto message = [&](std::uint64_t zero) {
    return "32 (stream bits): expected the bits of " + std::to_string(bytes) +
           " stream bytes, found " + std::to_string(zero + plane);
  };
  expect_forgeries_refused(
      container, {{at_zero_stream_bits, 8, 8 * bytes + 1 - plane, message(8 * bytes + 1 - plane)},
                  {at_zero_stream_bits, 8, 8 * bytes - 15 - plane, message(8 * bytes - 15 - plane)},
                  {at_zero_stream_bits, 8, -plane, message(-plane)}});
}

TEST(ForgedContainer, TheHeadersOwnSizeIsChecked) {
  const Bytes container = small_container(DType::int8);
  const auto message = [&](std::uint32_t header_bytes) {
    Bytes forged = container;
    store<std::uint32_t>(&forged[at_header_bytes], header_bytes);
    if (header_bytes >= 52 && header_bytes <= forged.size()) repair_header(forged, header_bytes);
    return reading_error(forged);
  };
  const std::string range = "container at byte 20 (header bytes): expected from 52 to " +
                            std::to_string(container.size());
  EXPECT_EQ(message(0), range + ", found 0");
  EXPECT_EQ(message(51), range + ", found 51");
  EXPECT_EQ(message(0xFFFFFFFF), range + ", found 4294967295");
  EXPECT_EQ(message(52), "container at byte 20 (header bytes): expected at least 68, found 52");
  EXPECT_EQ(message(68),
            "container at byte 20 (header bytes): expected room for 1 segments, found 68");
  EXPECT_EQ(message(77), "container at byte 20 (header bytes): expected 76, found 77");
}

TEST(ForgedContainer, AMalformedStreamNamesItsByteOfTheContainer) {
  Bytes container = compressed({DType::int8, MemoryFormat::contiguous, {16}},
                               default_parameters(DType::int8), Bytes(16, 0));
  const std::uint64_t header = inspect(container).header_bytes;
  ASSERT_EQ(header, 68U);
  ASSERT_EQ(Bytes(container.begin() + 68, container.end()), Bytes{0b01111000});  // a run of 16
  const auto error_of_stream = [&](std::uint8_t byte) {
    container[header] = byte;
    store<std::uint32_t>(&container[header - 8], portable_kernel.crc32c(0, &byte, 1));
    repair_header(container, header);
    return reading_error(container);
  };
  EXPECT_EQ(error_of_stream(0b01111001),
            "container at byte 68 (zero stream of segment 0): expected zero bits as padding, found "
            "a one bit");
  EXPECT_EQ(error_of_stream(0b11111111),
            "container at byte 69 (plane stream of segment 0): expected more bits, found the end "
            "of the stream");
}

TEST(ForgedContainer, AMalformedStreamOfAnyCodingIsRefused) {
  // A longer stream, a shorter one, and one bit of padding, each after right checksums.
  std::size_t refused = 0;
  for (const Bytes& container : containers_of_every_coding()) {
    const ContainerInfo info = inspect(container);
    if (info.raw_segments > 0) continue;
    const std::uint64_t header = info.header_bytes;
    const std::uint64_t at = table_offset(info.version, info.tensor);
    const SegmentEntry entry = SegmentEntry::read(&container[at], info.version);
    const auto error_of_payload = [&](Bytes forged, SegmentEntry changed) {
      changed.checksum = portable_kernel.crc32c(0, &forged[header], forged.size() - header);
      changed.write(&forged[at], info.version);
      store<std::uint64_t>(&forged[at_container_bytes], forged.size());
      repair_header(forged, header);
      return reading_error(forged);
    };
    SCOPED_TRACE("coding " + std::to_string(entry.coding));
    Bytes forged = container;
    if (entry.plane_bytes > 0) {
      const bool padded = info.plane_stream_bits % 8 != 0;
      forged.back() ^= padded ? 1 : 0;
      refused += padded;
      EXPECT_EQ(error_of_payload(forged, entry).find("container at byte "), padded ? 0 : -1UL);
      forged = container;
      forged.push_back(0);
      SegmentEntry longer = entry;
      ++longer.plane_bytes;
      EXPECT_NE(error_of_payload(forged, longer), "");
      if (entry.plane_bytes == 1) continue;
      forged = Bytes(container.begin(), container.end() - 1);
      SegmentEntry shorter = entry;
      --shorter.plane_bytes;
      EXPECT_NE(error_of_payload(forged, shorter), "");
    }
    const std::uint64_t zero_end = header + entry.zero_bytes;
    if (entry.zero_bytes > 0 && info.zero_stream_bits % 8 != 0) {
      forged = container;
      forged[zero_end - 1] ^= 1;
      EXPECT_EQ(error_of_payload(forged, entry),
                "container at byte " + std::to_string(zero_end - 1) +
                    " (zero stream of segment 0): expected zero bits as padding, found a one bit");
      ++refused;
    }
  }
  EXPECT_GT(refused, 10U);
}

TEST(ForgedContainer, ARawWordTooLargeForItsWordBitsIsRefused) {
  Random random(31);
  const TensorInfo tensor{DType::int16, MemoryFormat::contiguous, {9}};
  Bytes container = compressed(tensor, default_parameters(DType::int16), noise(random, 18));
  ASSERT_EQ(inspect(container).raw_segments, 1U);
  container[at_word_bits] = 3;
  const std::uint64_t header = inspect(small_container(DType::int8)).header_bytes - 8;
  repair_header(container, header);
  EXPECT_EQ(reading_error(container), "container at byte " + std::to_string(header) +
                                          " (segment 0): expected words of 3 bits, found a larger "
                                          "one");
}

TEST(ForgedContainer, AnyHeaderWithARightChecksumIsSafeToRead) {
  Random random(32);
  for_each_container([&](const Bytes& container) {
    const std::uint64_t header = inspect(container).header_bytes;
    for (int round = 0; round < 600; ++round) {
      Bytes forged = container;
      for (std::uint64_t i = 0; i <= random() % 4; ++i) {
        forged[8 + random() % (header - 12)] = static_cast<std::uint8_t>(random());
      }
      repair_header(forged, header);
      reading_error(forged);
    }
  });
}

TEST(ForgedContainer, AnyPayloadWithRightChecksumsIsSafeToRead) {
  Random random(33);
  for_each_container([&](const Bytes& container) {
    const ContainerInfo info = inspect(container);
    const std::uint64_t header = info.header_bytes;
    if (info.segments != 1) return;
    for (int round = 0; round < 600; ++round) {
      Bytes forged = container;
      for (std::uint64_t i = 0; i <= random() % 4; ++i) {
        forged[header + random() % (forged.size() - header)] = static_cast<std::uint8_t>(random());
      }
      store<std::uint32_t>(&forged[header - 8],
                           portable_kernel.crc32c(0, &forged[header], forged.size() - header));
      repair_header(forged, header);
      reading_error(forged);
    }
  });
}

TEST(ForgedContainer, AnyFlippedBitOfAnEntropyCodingWithRightChecksumsIsSafeToRead) {
  for (const Bytes& container : containers_of_every_coding()) {
    if (!is_entropy_coding(first_entry(container).coding)) continue;
    const std::uint64_t header = inspect(container).header_bytes;
    std::string before;
    for (const Kernel* kernel : supported_kernels()) {
      use_kernel(kernel->name);
      std::string errors;
      for (std::size_t bit = 8 * header; bit < 8 * container.size(); ++bit) {
        Bytes forged = container;
        forged[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
        store<std::uint32_t>(&forged[header - 8],
                             portable_kernel.crc32c(0, &forged[header], forged.size() - header));
        repair_header(forged, header);
        errors += reading_error(forged) + "\n";
      }
      EXPECT_NE(errors.find("stream of segment 0): expected "), std::string::npos);
      if (!before.empty()) {
        EXPECT_EQ(errors, before);
      }
      before = errors;
    }
    use_kernel(supported_kernels().front()->name);
  }
}

}  // namespace
}  // namespace ebpc::test
