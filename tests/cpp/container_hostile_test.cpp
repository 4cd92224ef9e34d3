// Containers made by someone who means harm: small, with checksums that are right. What they can
// make a reader allocate is bounded, and whatever they claim is refused or read without harm.

#include <array>
#include <string>
#include <vector>

#include "ebpc/container_layout.h"
#include "ebpc/container_stream.h"
#include "ebpc/kernels/kernel.h"
#include "support/allocation_count.h"
#include "support/container_data.h"

namespace ebpc::test {
namespace {

using namespace layout;

void repair_header(Bytes& container) {
  const std::uint64_t header = load<std::uint32_t>(&container[at_header_bytes]);
  if (header < fixed_header_bytes || header > container.size()) return;
  store<std::uint32_t>(&container[header - 4],
                       portable_kernel.crc32c(0, container.data(), header - 4));
}

/// A header of exactly `bytes` bytes that claims this shape, with a right checksum.
Bytes header_claiming(std::size_t bytes, DType dtype, const std::vector<std::uint64_t>& shape,
                      Codec codec = Codec::ebpc) {
  Bytes header(bytes, 0);
  std::copy(magic.begin(), magic.end(), header.begin());
  header[at_version] = codec == Codec::ebpc ? 1 : 2;
  header[at_dtype] = static_cast<std::uint8_t>(dtype);
  header[at_word_bits] = static_cast<std::uint8_t>(8 * traits(dtype).bytes);
  header[at_block_size] = codec == Codec::ebpc ? 8 : 0;
  header[at_max_zero_run] = codec == Codec::ebpc ? 4 : 0;
  header[at_dims] = static_cast<std::uint8_t>(shape.size());
  header[at_segment_words] = 12;
  store<std::uint32_t>(&header[at_header_bytes], static_cast<std::uint32_t>(bytes));
  store<std::uint64_t>(&header[at_container_bytes], bytes);
  for (std::size_t i = 0; i < shape.size() && shape_offset(1) + 8 * i + 8 <= bytes; ++i) {
    store<std::uint64_t>(&header[shape_offset(1) + 8 * i], shape[i]);
  }
  repair_header(header);
  return header;
}

/// Everything that reads a container; returns the bytes that it allocated, at most.
std::size_t allocated_by_reading(const Bytes& container) {
  std::size_t most = 0;
  const auto count = [&](auto&& read) {
    const std::size_t before = allocated_bytes();
    try {
      read();
    } catch (const Error&) {
    }
    most = std::max(most, allocated_bytes() - before);
  };
  count([&] { inspect(container); });
  count([&] { ContainerReader(container, layout::Extent::header).info(); });
  count([&] { ContainerReader(container).read(nullptr, 0); });
  count([&] { ContainerReader(container).read_range({0, 0}, nullptr, 0); });
  count([&] { ContainerReader(container, layout::Extent::header).recover(nullptr, 0); });
  count([&] {
    ContainerDecoder decoder;
    Bytes words;
    push_and_take(decoder, container, words);
    decoder.finish();
  });
  return most;
}

TEST(HostileHeader, AHundredBytesAreRefusedBeforeAnythingIsAllocated) {
  constexpr std::uint64_t huge = ~std::uint64_t{0};
  const std::vector<std::vector<std::uint64_t>> shapes{
      {std::uint64_t{1} << 40},
      {(std::uint64_t{1} << 63) - 1},
      {std::uint64_t{1} << 63},
      {huge},                                                  // -1
      {huge - 4095, 1},                                        // negative
      {1, huge, 0},                                            // a negative one beside an empty one
      {std::uint64_t{1} << 32, std::uint64_t{1} << 32},        // 2^64: wraps to 0
      {std::uint64_t{1} << 32, (std::uint64_t{1} << 32) + 1},  // wraps to 2^32
      {3, 0x5555555555555556},                                 // wraps to 2
      {std::uint64_t{1} << 61},                                // of 4 bytes each: wraps
      {5 * 4096, 4096, 4096},
      {4097 * 6},  // more segments than there is room for
      std::vector<std::uint64_t>(24, 2),
      std::vector<std::uint64_t>(25, 1),
      std::vector<std::uint64_t>(255, 1),
  };
  for (const DType dtype : all_dtypes) {
    for (std::size_t i = 0; i < 2 * shapes.size(); ++i) {
      const auto& shape = shapes[i / 2];
      const Bytes header = header_claiming(100, dtype, shape, all_codecs.at(i % 2));
      SCOPED_TRACE(std::string(traits(dtype).name) + " " + std::to_string(shape.size()) + " x " +
                   std::to_string(shape[0]));
      EXPECT_NE(error_of(ErrorCode::format, [&] { inspect(header); }), "");
      EXPECT_NE(error_of(ErrorCode::format,
                         [&] { ContainerReader(header, layout::Extent::header).info(); }),
                "");
      EXPECT_LT(allocated_by_reading(header), 8192U);  // messages, mostly
    }
  }
}

TEST(HostileHeader, AnyFieldsWithARightChecksumAllocateInProportionToTheirBytes) {
  Random random(61);
  constexpr std::array<std::uint64_t, 12> interesting{
      0,          1,          4096,       4097,       65535,      1ULL << 31,
      0xFFFFFFFF, 1ULL << 32, 1ULL << 41, 1ULL << 62, 1ULL << 63, ~0ULL};
  std::size_t read = 0;
  for (int round = 0; round < 50'000; ++round) {
    const std::size_t dims = random() % 4;
    std::vector<std::uint64_t> shape;
    for (std::size_t i = 0; i < dims; ++i) {
      shape.push_back(random() % 2 == 0 ? random() % 5000
                                        : interesting[random() % interesting.size()]);
    }
    const std::size_t bytes =
        random() % 2 == 0 ? 52 + random() % 60 : 52 + 8 * dims + 8 * (random() % 3);
    Bytes header = header_claiming(bytes, all_dtypes[random() % all_dtypes.size()], shape,
                                   all_codecs.at(random() % 2));
    for (std::uint64_t i = random() % 3; i > 0; --i) {
      header[9 + random() % (bytes - 9)] = static_cast<std::uint8_t>(random());
    }
    repair_header(header);
    // 4 x for the places of segments, as much again for the decoder's copy, and messages.
    ASSERT_LT(allocated_by_reading(header), 16 * bytes + 8192);
    try {
      const ContainerInfo info = inspect(header);
      ++read;
      ASSERT_LT(info.words * static_cast<std::uint64_t>(traits(info.tensor.dtype).bytes),
                2048 * bytes);
    } catch (const Error&) {
    }
  }
  EXPECT_GT(read, 100U);  // empty tensors: not all of this is refused
}

/// The most that bytes can claim: all segments of 4-byte words with one byte of payload each.
Bytes bomb(std::uint64_t segments, Codec codec = Codec::ebpc, std::uint32_t coding = coding_ebpc) {
  const std::uint64_t header_bytes = header_bytes_for(1, 1, segments);
  Bytes container =
      header_claiming(header_bytes, DType::float32, {segments * segment_words}, codec);
  container.resize(header_bytes + segments, 0);
  store<std::uint64_t>(&container[at_container_bytes], container.size());
  const bool has_zero_stream =
      codec == Codec::ebpc || SegmentCoding::of(coding).zero != ZeroCoding::none;
  store<std::uint64_t>(&container[has_zero_stream ? at_zero_stream_bits : at_plane_stream_bits],
                       8 * segments);
  const std::uint8_t zero = 0;
  for (std::uint64_t i = 0; i < segments; ++i) {
    SegmentEntry{coding, has_zero_stream, !has_zero_stream, portable_kernel.crc32c(0, &zero, 1)}
        .write(&container[shape_offset(1) + 8 + 8 * i], 1);
  }
  repair_header(container);
  return container;
}

/// Those of every coding that may have a single byte of streams; a mask has more.
std::vector<Bytes> bombs(std::uint64_t segments) {
  std::vector<Bytes> containers{bomb(segments)};
  for (std::uint32_t coding = 1; coding < SegmentCoding::count; ++coding) {
    if (SegmentCoding::of(coding).zero == ZeroCoding::mask) continue;
    containers.push_back(bomb(segments, Codec::automatic, coding));
  }
  return containers;
}

TEST(HostileHeader, TheLargestClaimIsLessThan2048TimesTheContainer) {
  for (const std::uint64_t segments : {1, 10, 1000, 100'000}) {
    for (const Bytes& container : bombs(segments)) {
      const ContainerInfo info = inspect(container);
      const std::uint64_t bytes = 4 * info.words;
      EXPECT_EQ(bytes, segments * 16'384);
      EXPECT_LT(bytes, 2048 * container.size());
      // The decoder hands out at most 256 segments' words at a time.
      ContainerDecoder decoder;
      const std::size_t before = allocated_bytes();
      EXPECT_NE(error_of(ErrorCode::format,
                         [&] {
                           Bytes words;
                           push_and_take(decoder, container, words);
                         }),
                "");
      EXPECT_LT(allocated_bytes() - before, 10 * container.size() + 256 * 16'384 + 100'000);
    }
  }
}

TEST(HostileHeader, ASegmentWithoutAZeroStreamIsRefused) {
  Bytes container = bomb(1);
  SegmentEntry{coding_ebpc, 0, 1, 0}.write(&container[shape_offset(1) + 8], 1);
  repair_header(container);
  EXPECT_EQ(error_of(ErrorCode::format, [&] { inspect(container); }),
            "container at byte 56 (stream bytes of segment 0): expected a zero stream, found 0");
}

TEST(HostileHeader, SegmentsThatWouldOverlapOrLeaveGapsDoNotFitTheContainer) {
  // There are no offsets to forge: segments lie one after the other, and their lengths must add up.
  Bytes container = bomb(4);
  SegmentEntry{coding_ebpc, 2, 0, 0}.write(&container[shape_offset(1) + 8], 1);
  repair_header(container);
  EXPECT_EQ(error_of(ErrorCode::format, [&] { inspect(container); }),
            "container at byte 80 (stream bytes of segment 3): expected at most 0, found 1");
  container = bomb(4);
  container.push_back(0);
  store<std::uint64_t>(&container[at_container_bytes], container.size());
  repair_header(container);
  EXPECT_EQ(error_of(ErrorCode::format, [&] { inspect(container); }),
            "container at byte 24 (container bytes): expected 96, found 97");
}

TEST(HostileHeader, StreamBitsThatWrapAreRefused) {
  Bytes container = bomb(1);
  store<std::uint64_t>(&container[at_zero_stream_bits], ~std::uint64_t{0});
  store<std::uint64_t>(&container[at_plane_stream_bits], 9);
  repair_header(container);
  EXPECT_EQ(error_of(ErrorCode::format, [&] { inspect(container); }),
            "container at byte 32 (stream bits): expected the bits of 1 stream bytes, found 8");
}

TEST(MaxBytes, IsOneGibibyteOr64TimesTheContainer) {
  EXPECT_EQ(default_max_bytes(0), std::uint64_t{1} << 30);
  EXPECT_EQ(default_max_bytes(1 << 24), std::uint64_t{1} << 30);
  EXPECT_EQ(default_max_bytes((1 << 24) + 1), (std::uint64_t{1} << 30) + 64);
  EXPECT_EQ(default_max_bytes(~std::uint64_t{0}), ~std::uint64_t{0} - 63);
}

TEST(MaxBytes, ALargerTensorIsRefused) {
  check_max_bytes(1000, 1000);
  EXPECT_EQ(error_of(ErrorCode::limit, [] { check_max_bytes(1001, 1000); }),
            "the container holds a tensor of 1001 bytes, more than max_bytes, 1000; if it can be "
            "trusted, pass a larger max_bytes");
}

}  // namespace
}  // namespace ebpc::test
