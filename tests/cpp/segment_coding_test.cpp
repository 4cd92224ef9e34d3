// Containers of version 2: each segment in the coding that takes the fewest bytes, as found by
// coding it in all of them with the public functions; and its streams are what FORMAT.md says.

#include "ebpc/segment_coding.h"

#include <array>
#include <string>
#include <vector>

#include "ebpc/baselines.h"
#include "ebpc/container_layout.h"
#include "ebpc/kernels/dispatch.h"
#include "support/container_data.h"
#include "support/test_threads.h"

namespace ebpc::test {
namespace {

using namespace layout;

/// One segment's streams in one coding, by FORMAT.md and the functions for whole transmissions.
struct CodedSegment {
  bool possible = true;
  Bytes zero;
  Bytes plane;

  std::uint64_t bytes() const { return zero.size() + plane.size(); }
};

CodedSegment coded_by_hand(std::uint32_t coding, Parameters p, WordSpan words) {
  CodedSegment coded;
  Bytes unused;
  p.base = Base::reused;
  switch (coding / 4) {
    case 0:
      encode(Method::zvc, p, words, coded.zero, unused);
      coded.possible = coding > 0 &&
                       std::count(coded.zero.begin(), coded.zero.end(), 0xFF) ==
                           static_cast<std::ptrdiff_t>(words.count / 8) &&
                       count_bits(Method::zvc, p, words).plane ==
                           words.count * static_cast<std::uint64_t>(p.word_bits);
      coded.zero.clear();
      break;
    case 1:
      encode(Method::zvc, p, words, coded.zero, unused);
      break;
    default:
      p.max_zero_run = coding / 4 == 2 ? 16 : 256;
      encode(p, words, coded.zero, unused);
  }
  if (coding % 4 == 0) {
    encode(Method::zvc, p, words, unused, coded.plane);
  } else {
    p.block_size = std::array{0, 15, 31, 63}.at(coding % 4);
    encode(p, words, unused, coded.plane);
  }
  return coded;
}

/// What a segment has to look like: its coding and its bytes.
std::pair<std::uint32_t, Bytes> smallest_by_hand(const Parameters& p, WordSpan words) {
  const auto* raw = static_cast<const std::uint8_t*>(words.data);
  std::uint32_t smallest = 0;
  Bytes bytes(raw, raw + words.count * static_cast<std::size_t>(words.bytes_per_word));
  copy_little_endian(bytes.data(), raw, bytes.size(), words.bytes_per_word);
  for (std::uint32_t coding = 1; coding < SegmentCoding::count; ++coding) {
    CodedSegment coded = coded_by_hand(coding, p, words);
    if (!coded.possible || coded.bytes() >= bytes.size()) continue;
    smallest = coding;
    bytes = coded.zero;
    bytes.insert(bytes.end(), coded.plane.begin(), coded.plane.end());
  }
  return {smallest, bytes};
}

/// Segments that choose differently: from all zero to none zero, from smooth to noise.
Bytes varied_memory(Random& random, const Parameters& p, int bytes_per_word, std::size_t count) {
  Values values;
  while (values.size() < count) {
    const Bytes segment = segment_memory(random, p, bytes_per_word, segment_words);
    const Values more = loaded(segment, bytes_per_word, p.is_signed);
    values.insert(values.end(), more.begin(), more.end());
  }
  values.resize(count);
  return stored(values, bytes_per_word, p.is_signed);
}

void expect_segments_by_hand(const TensorInfo& tensor, const Parameters& p, const Bytes& memory) {
  const Bytes container = compressed(tensor, p, memory, {}, Codec::automatic);
  ASSERT_EQ(decompressed(container), memory);
  const ContainerInfo info = inspect(container);
  const WordSpan all{memory.data(), info.words, traits(tensor.dtype).bytes};
  std::uint64_t offset = info.header_bytes;
  std::array<CodingCount, SegmentCoding::count> codings{};
  for (std::uint64_t i = 0; i < info.segments; ++i) {
    SCOPED_TRACE("segment " + std::to_string(i));
    const WordSpan words = all.part(i * segment_words, words_in_segment(info.words, i));
    const auto [coding, bytes] = smallest_by_hand(p, words);
    const SegmentEntry entry = SegmentEntry::read(&container[table_offset(2, tensor) + 8 * i], 2);
    ASSERT_EQ(entry.coding, coding);
    ASSERT_LE(offset + bytes.size(), container.size());
    ASSERT_TRUE(std::equal(bytes.begin(), bytes.end(),
                           container.begin() + static_cast<std::ptrdiff_t>(offset)));
    offset += bytes.size();
    ++codings[coding].segments;
    codings[coding].words += words.count;
  }
  EXPECT_EQ(offset, container.size());
  EXPECT_EQ(info.codings, codings);
  EXPECT_EQ(info.raw_segments, codings[0].segments);
  EXPECT_EQ(info.raw_words, codings[0].words);
}

TEST(SegmentCoding, IsTheSmallestAndTheLowestOfThose) {
  Random random(81);
  for (const DType dtype : all_dtypes) {
    SCOPED_TRACE(traits(dtype).name);
    const std::size_t words = 12 * segment_words + 1003;
    const TensorInfo tensor{dtype, MemoryFormat::contiguous, {static_cast<std::int64_t>(words)}};
    const Parameters p = default_parameters(dtype);
    expect_segments_by_hand(tensor, p, varied_memory(random, p, traits(dtype).bytes, words));
  }
}

TEST(SegmentCoding, OfFewWordsToo) {
  Random random(82);
  for (int round = 0; round < 1500; ++round) {
    const DType dtype = all_dtypes[random() % all_dtypes.size()];
    const std::size_t words = 1 + random() % 70;
    SCOPED_TRACE(std::string(traits(dtype).name) + " " + std::to_string(words));
    const TensorInfo tensor{dtype, MemoryFormat::contiguous, {static_cast<std::int64_t>(words)}};
    const Parameters p = default_parameters(dtype);
    expect_segments_by_hand(tensor, p, segment_memory(random, p, traits(dtype).bytes, words));
  }
}

TEST(SegmentCoding, OfWordsNarrowerThanTheirDtype) {
  Random random(83);
  for (const DType dtype : {DType::int8, DType::uint8, DType::int16, DType::uint16, DType::int32}) {
    for (int word_bits = 2; word_bits < 8 * traits(dtype).bytes; word_bits += 3) {
      SCOPED_TRACE(std::string(traits(dtype).name) + " " + std::to_string(word_bits));
      const Parameters p = parameters_for(dtype, word_bits, 8, 16, Base::sent);
      const std::size_t words = 3 * segment_words + 77;
      expect_segments_by_hand({dtype, MemoryFormat::contiguous, {static_cast<std::int64_t>(words)}},
                              p, varied_memory(random, p, traits(dtype).bytes, words));
    }
  }
}

TEST(SegmentCoding, EveryOneIsTheSmallestOfSomething) {
  std::array<bool, SegmentCoding::count> seen{};
  for (const Bytes& container : containers_of_every_coding()) {
    const ContainerInfo info = inspect(container);
    for (std::uint32_t i = 0; i < SegmentCoding::count; ++i) {
      seen.at(i) |= info.codings.at(i).segments > 0;
    }
  }
  for (std::uint32_t i = 0; i < SegmentCoding::count; ++i) EXPECT_TRUE(seen.at(i)) << i;
}

TEST(SegmentCoding, IsTheSameWithAnyKernelAndAnyThreads) {
  Random random(84);
  const std::string before = active_kernel().name;
  for (const DType dtype : {DType::int8, DType::uint16, DType::float32}) {
    SCOPED_TRACE(traits(dtype).name);
    const std::size_t words = 70 * segment_words + 5;
    const TensorInfo tensor{dtype, MemoryFormat::contiguous, {static_cast<std::int64_t>(words)}};
    const Parameters p = default_parameters(dtype);
    const Bytes memory = varied_memory(random, p, traits(dtype).bytes, words);
    const Bytes expected = compressed(tensor, p, memory, {}, Codec::automatic);
    for (const Kernel* kernel : supported_kernels()) {
      SCOPED_TRACE(kernel->name);
      use_kernel(kernel->name);
      EXPECT_EQ(compressed(tensor, p, memory, std_threads(3), Codec::automatic), expected);
      EXPECT_EQ(decompressed(expected, std_threads(2)), memory);
    }
    use_kernel(before);
  }
}

TEST(SegmentCoding, IsNeverLargerThanAnyOfItsSettingsForAllSegments) {
  Random random(85);
  for (const DType dtype : all_dtypes) {
    SCOPED_TRACE(traits(dtype).name);
    const std::size_t words = 20 * segment_words;
    const TensorInfo tensor{dtype, MemoryFormat::contiguous, {static_cast<std::int64_t>(words)}};
    const Bytes memory = random_memory(random, dtype, words);
    const std::size_t size =
        compressed(tensor, default_parameters(dtype), memory, {}, Codec::automatic).size();
    for (const int block_size : {15, 31, 63}) {
      for (const int max_zero_run : {16, 256}) {
        const Parameters p = parameters_for(dtype, 0, block_size, max_zero_run, Base::reused);
        EXPECT_LE(size, compressed(tensor, p, memory).size()) << text(p);
      }
    }
  }
}

TEST(SegmentCoding, ParametersThatItChoosesAreRefused) {
  const TensorInfo tensor{DType::int16, MemoryFormat::contiguous, {3}};
  const Bytes memory(6);
  const auto refused = [&](int block_size, int max_zero_run, Base base) {
    Bytes out(max_compressed_bytes(tensor));
    const Parameters p = parameters_for(DType::int16, 12, block_size, max_zero_run, base);
    return error_of(ErrorCode::argument,
                    [&] { compress(tensor, {Codec::automatic, p}, memory.data(), out); });
  };
  const std::string reason = " with codec 'auto', which chooses it by segment, got ";
  EXPECT_EQ(refused(16, 16, Base::sent), "block_size must be left at 8" + reason + "16");
  EXPECT_EQ(refused(8, 32, Base::sent), "max_zero_run must be left at 16" + reason + "32");
  EXPECT_EQ(refused(8, 16, Base::reused), "base must be left at 'sent'" + reason + "'reused'");
}

}  // namespace
}  // namespace ebpc::test
