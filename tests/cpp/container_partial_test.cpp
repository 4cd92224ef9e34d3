// Parts of a container: ranges of words, and what is left of a damaged one.

#include <string>
#include <vector>

#include "ebpc/container_layout.h"
#include "ebpc/kernels/kernel.h"
#include "support/container_data.h"
#include "support/test_threads.h"

namespace ebpc::test {
namespace {

using namespace layout;

/// Three segments, the middle one raw, and a rest.
struct Sample {
  DType dtype;
  Codec codec = Codec::ebpc;
  std::size_t bytes_per_word = static_cast<std::size_t>(traits(dtype).bytes);
  std::uint64_t words = 3 * segment_words + 100;
  Bytes memory = make_memory();
  Bytes container =
      compressed({dtype, MemoryFormat::contiguous, {static_cast<std::int64_t>(words)}},
                 default_parameters(dtype), memory, {}, codec);

  Bytes make_memory() const {
    Random random(51);
    Bytes bytes = random_memory(random, dtype, words);
    const Bytes raw = noise(random, segment_words * bytes_per_word);
    std::copy(raw.begin(), raw.end(),
              bytes.begin() + static_cast<std::ptrdiff_t>(segment_words * bytes_per_word));
    return bytes;
  }

  Bytes part(WordRange range) const {
    const auto begin = memory.begin() + static_cast<std::ptrdiff_t>(range.first * bytes_per_word);
    return Bytes(begin, begin + static_cast<std::ptrdiff_t>(range.count * bytes_per_word));
  }

  /// Where segment i's payload begins.
  std::uint64_t payload(std::uint64_t i) const {
    std::uint64_t offset = inspect(container).header_bytes;
    for (std::uint64_t k = 0; k < i; ++k) {
      const int version = inspect(container).version;
      const SegmentEntry entry = SegmentEntry::read(
          &container[shape_offset(version) + 8 + entry_bytes(version) * k], version);
      offset += entry.coding == coding_raw ? segment_words * bytes_per_word : entry.stream_bytes();
    }
    return offset;
  }
};

template <class Test>
void for_each_sample(Test&& test) {
  for (const DType dtype : all_dtypes) {
    for (const Codec codec : all_codecs) {
      SCOPED_TRACE(std::string(traits(dtype).name) + ", version " +
                   std::to_string(version_of(DType::int8, {codec, {}})));
      test(Sample{dtype, codec});
    }
  }
}

Bytes read_range(const Bytes& container, WordRange range, std::size_t bytes_per_word,
                 const Executor& executor = {}) {
  const GuardedBytes in(container, GuardedBytes::Guard::behind);
  const GuardedBytes out(Bytes(range.count * bytes_per_word), GuardedBytes::Guard::behind);
  ContainerReader(in.span()).read_range(range, out.span().data(), out.span().size(), executor);
  return Bytes(out.span().begin(), out.span().end());
}

TEST(PartialRead, EveryRangeIsThatPartOfTheWords) {
  const std::vector<std::uint64_t> cuts{0,    1,    7,    4095, 4096,   4097,
                                        8191, 8192, 8193, 9000, 12'288, 12'388};
  for_each_sample([&](const Sample& sample) {
    for (const std::uint64_t first : cuts) {
      for (const std::uint64_t last : cuts) {
        if (last < first) continue;
        const WordRange range{first, last - first};
        ASSERT_EQ(read_range(sample.container, range, sample.bytes_per_word), sample.part(range))
            << first << " to " << last;
      }
    }
  });
}

TEST(PartialRead, ManySegmentsAndThreadsChangeNothing) {
  Random random(52);
  const std::uint64_t words = 600 * segment_words + 5;
  const Bytes memory = random_memory(random, DType::int8, words);
  const TensorInfo tensor{
      DType::int8, MemoryFormat::contiguous, {static_cast<std::int64_t>(words)}};
  const Bytes container = compressed(tensor, default_parameters(DType::int8), memory);
  for (int round = 0; round < 20; ++round) {
    const std::uint64_t first = random() % words;
    const WordRange range{first, random() % (words - first + 1)};
    const auto begin = memory.begin() + static_cast<std::ptrdiff_t>(first);
    ASSERT_EQ(read_range(container, range, 1, std_threads(1 + random() % 3)),
              Bytes(begin, begin + static_cast<std::ptrdiff_t>(range.count)));
  }
}

TEST(PartialRead, DamageElsewhereDoesNotMatter) {
  Sample sample{DType::int16};
  sample.container[sample.payload(1) + 5] ^= 1;
  for (const WordRange range : {WordRange{0, 4096}, WordRange{8192, 4196}}) {
    EXPECT_EQ(read_range(sample.container, range, 2), sample.part(range));
  }
  EXPECT_EQ(error_of(ErrorCode::checksum, [&] { read_range(sample.container, {4095, 2}, 2); })
                .find("container at byte " + std::to_string(sample.payload(1)) + " (segment 1)"),
            0U);
}

TEST(PartialRead, ARangeOutsideOfTheTensorIsRefused) {
  const Sample sample{DType::int8};
  const auto refused = [&](WordRange range, std::uint64_t words_bytes) {
    Bytes words(16);
    return error_of(ErrorCode::argument, [&] {
      ContainerReader(sample.container).read_range(range, words.data(), words_bytes);
    });
  };
  const std::string range = "the range must lie in the container's 12388 words, got ";
  EXPECT_EQ(refused({12'388, 1}, 1), range + "1 from word 12388");
  EXPECT_EQ(refused({12'389, 0}, 0), range + "0 from word 12389");
  EXPECT_EQ(refused({1, ~std::uint64_t{0}}, ~std::uint64_t{0}),
            range + "18446744073709551615 from word 1");
  EXPECT_EQ(refused({~std::uint64_t{0}, 2}, 2), range + "2 from word 18446744073709551615");
  EXPECT_EQ(refused({0, 8}, 9), "words_bytes must be 8, got 9");
}

// ---- Recovery
// ------------------------------------------------------------------------------------

struct Recovered {
  std::vector<WordRange> lost;
  Bytes memory;
};

Recovered recovered(const Bytes& container, std::uint64_t bytes, const Executor& executor = {}) {
  const GuardedBytes in(container, GuardedBytes::Guard::behind);
  const GuardedBytes out(Bytes(bytes, 0xEE), GuardedBytes::Guard::behind);
  Recovered result;
  result.lost = ContainerReader(in.span(), layout::Extent::header)
                    .recover(out.span().data(), bytes, executor);
  result.memory.assign(out.span().begin(), out.span().end());
  return result;
}

/// The words with zeros where they are lost.
Bytes without(const Sample& sample, const std::vector<WordRange>& lost) {
  Bytes memory = sample.memory;
  for (const WordRange& range : lost) {
    std::fill_n(memory.begin() + static_cast<std::ptrdiff_t>(range.first * sample.bytes_per_word),
                range.count * sample.bytes_per_word, std::uint8_t{0});
  }
  return memory;
}

void expect_lost(const Sample& sample, const Bytes& container, const std::vector<WordRange>& lost) {
  const Recovered found = recovered(container, sample.memory.size());
  EXPECT_EQ(found.lost, lost);
  EXPECT_EQ(found.memory, without(sample, lost));
}

TEST(Recover, AnIntactContainerHasLostNothing) {
  for_each_sample([](const Sample& sample) { expect_lost(sample, sample.container, {}); });
}

TEST(Recover, ADamagedSegmentLosesThatSegmentOnly) {
  for_each_sample([](const Sample& sample) {
    for (std::uint64_t i = 0; i < 4; ++i) {
      SCOPED_TRACE(i);
      Bytes container = sample.container;
      container[sample.payload(i)] ^= 0x10;
      expect_lost(sample, container, {{i * segment_words, i < 3 ? segment_words : 100}});
    }
    Bytes container = sample.container;
    for (const std::uint64_t i : {0, 2, 3}) container[sample.payload(i)] ^= 0x80;
    expect_lost(sample, container, {{0, 4096}, {8192, 4196}});
  });
}

TEST(Recover, ACutLosesWhatIsBehindIt) {
  const Sample sample{DType::int16};
  const auto cut = [&](std::uint64_t bytes) {
    return Bytes(sample.container.begin(),
                 sample.container.begin() + static_cast<std::ptrdiff_t>(bytes));
  };
  expect_lost(sample, cut(sample.container.size() - 1), {{12'288, 100}});
  expect_lost(sample, cut(sample.payload(3)), {{12'288, 100}});
  expect_lost(sample, cut(sample.payload(2) + 1), {{8192, 4196}});
  expect_lost(sample, cut(sample.payload(0)), {{0, 12'388}});
  Bytes longer = sample.container;
  longer.push_back(1);
  expect_lost(sample, longer, {});
}

TEST(Recover, AMalformedSegmentWithARightChecksumIsLostLikeADamagedOne) {
  for_each_sample([](Sample sample) {
    const std::uint64_t header = inspect(sample.container).header_bytes;
    const std::uint64_t at = sample.payload(2);
    const std::uint64_t bytes = sample.payload(3) - at;
    std::fill_n(sample.container.begin() + static_cast<std::ptrdiff_t>(at), bytes,
                std::uint8_t{0xFF});
    store<std::uint32_t>(&sample.container[shape_offset(1) + 8 + 8 * 2 + 4],
                         portable_kernel.crc32c(0, &sample.container[at], bytes));
    store<std::uint32_t>(&sample.container[header - 4],
                         portable_kernel.crc32c(0, sample.container.data(), header - 4));
    sample.container[sample.payload(0)] ^= 1;  // and one that is damaged
    expect_lost(sample, sample.container, {{0, 4096}, {8192, 4096}});
  });
}

TEST(Recover, ManySegmentsAndThreadsChangeNothing) {
  Random random(53);
  const std::uint64_t words = 600 * segment_words;
  const Bytes memory = noise(random, words);  // raw: segment i is at header + 4096 i
  Bytes container =
      compressed({DType::int8, MemoryFormat::contiguous, {static_cast<std::int64_t>(words)}},
                 default_parameters(DType::int8), memory);
  const std::uint64_t header = inspect(container).header_bytes;
  for (const std::uint64_t i : {0, 255, 256, 257, 599}) container[header + i * 4096] ^= 1;
  const Recovered alone = recovered(container, words);
  EXPECT_EQ(alone.lost,
            (std::vector<WordRange>{{0, 4096}, {255 * 4096, 3 * 4096}, {599 * 4096, 4096}}));
  const Recovered threaded = recovered(container, words, std_threads(3));
  EXPECT_EQ(threaded.lost, alone.lost);
  EXPECT_EQ(threaded.memory, alone.memory);
}

TEST(Recover, WithoutAnIntactHeaderNothingIsRead) {
  const Sample sample{DType::int8};
  Bytes damaged = sample.container;
  damaged[60] ^= 1;
  EXPECT_NE(error_of(ErrorCode::checksum, [&] { recovered(damaged, sample.memory.size()); }), "");
  const std::uint64_t header = inspect(sample.container).header_bytes;
  damaged.assign(sample.container.begin(),
                 sample.container.begin() + static_cast<std::ptrdiff_t>(header - 1));
  EXPECT_EQ(error_of(ErrorCode::format, [&] { recovered(damaged, sample.memory.size()); }),
            "container at byte 20 (header bytes): expected from 52 to " +
                std::to_string(header - 1) + ", found " + std::to_string(header));
  EXPECT_EQ(error_of(ErrorCode::argument, [&] { recovered(sample.container, 5); }),
            "words_bytes must be 12388, got 5");
}

TEST(Recover, InspectHeaderReadsACutContainer) {
  const Sample sample{DType::float32};
  const std::uint64_t header = inspect(sample.container).header_bytes;
  const ContainerInfo info =
      ContainerReader(std::span(sample.container).first(header), layout::Extent::header).info();
  EXPECT_EQ(info.words, sample.words);
  EXPECT_EQ(info.container_bytes, sample.container.size());
}

}  // namespace
}  // namespace ebpc::test
