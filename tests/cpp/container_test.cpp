#include "ebpc/container.h"

#include <algorithm>
#include <string>
#include <vector>

#include "ebpc/bit_stream.h"
#include "ebpc/container_layout.h"
#include "ebpc/container_reader.h"
#include "support/container_data.h"
#include "support/test_threads.h"

namespace ebpc::test {
namespace {

const std::vector<std::vector<std::int64_t>> shapes{{},
                                                    {0},
                                                    {1},
                                                    {3, 0, 5},
                                                    {7},
                                                    {2, 3, 4},
                                                    {4095},
                                                    {4096},
                                                    {4097},
                                                    {3, 64, 56},
                                                    {1, 1, 1},
                                                    {0, 1LL << 62},
                                                    std::vector<std::int64_t>(24, 1)};

std::uint64_t memory_bytes(const TensorInfo& tensor) {
  return word_count(tensor) * static_cast<std::uint64_t>(traits(tensor.dtype).bytes);
}

std::string described(const TensorInfo& tensor) {
  std::string text(traits(tensor.dtype).name);
  for (const std::int64_t size : tensor.shape) text.append(" ").append(std::to_string(size));
  return text;
}

TEST(Container, EveryDtypeAndShapeComesBackWithWhatTheHeaderSays) {
  Random random(21);
  for (const DType dtype : all_dtypes) {
    for (std::size_t i = 0; i < 2 * shapes.size(); ++i) {
      const auto& shape = shapes[i / 2];
      const Codec codec = all_codecs.at(i % 2);
      const TensorInfo tensor{dtype, MemoryFormat::contiguous, shape};
      SCOPED_TRACE(described(tensor));
      const Bytes memory = random_memory(random, dtype, word_count(tensor));
      Parameters p = default_parameters(dtype);
      const Bytes container = compressed(tensor, p, memory, {}, codec);
      ASSERT_EQ(decompressed(container), memory);

      const ContainerInfo info = inspect(container);
      EXPECT_EQ(info.version, codec == Codec::ebpc ? 1 : 3);
      EXPECT_EQ(info.tensor, tensor);
      if (codec == Codec::automatic) p.block_size = p.max_zero_run = 0;
      EXPECT_EQ(info.code.parameters, p);
      EXPECT_EQ(info.words, word_count(tensor));
      EXPECT_EQ(info.segments, (info.words + segment_words - 1) / segment_words);
      EXPECT_EQ(info.container_bytes, container.size());
      EXPECT_EQ(info.header_bytes, codec == Codec::ebpc
                                       ? 52 + 8 * shape.size() + 8 * info.segments
                                       : 56 + 8 * shape.size() + 12 * info.segments);
    }
  }
}

TEST(Container, EveryParameterComesBack) {
  Random random(22);
  for (const DType dtype : all_dtypes) {
    for (int round = 0; round < 30; ++round) {
      const DTypeTraits& of = traits(dtype);
      const int width = 8 * of.bytes;
      const int word_bits =
          of.all_bits ? width : 2 + static_cast<int>(random() % static_cast<unsigned>(width - 1));
      const Parameters p = random_parameters(random, word_bits, of.is_signed);
      SCOPED_TRACE(std::string(of.name) + " " + text(p));
      const Bytes memory = stored(random_values(random, p, 5000), of.bytes, of.is_signed);
      const TensorInfo tensor{dtype, MemoryFormat::contiguous, {5000}};
      const Bytes container = compressed(tensor, p, memory);
      ASSERT_EQ(decompressed(container), memory);
      EXPECT_EQ(inspect(container).code.parameters, p);
    }
  }
}

TEST(Container, EveryMemoryFormatComesBack) {
  Random random(23);
  const auto format_of = [&random](MemoryFormat format, std::vector<std::int64_t> shape) {
    const TensorInfo tensor{DType::int8, format, std::move(shape)};
    const Bytes memory = random_memory(random, DType::int8, word_count(tensor));
    return inspect(compressed(tensor, default_parameters(DType::int8), memory)).tensor;
  };
  EXPECT_EQ(format_of(MemoryFormat::contiguous, {2, 3, 4, 5}).memory_format,
            MemoryFormat::contiguous);
  EXPECT_EQ(format_of(MemoryFormat::channels_last, {2, 3, 4, 5}).memory_format,
            MemoryFormat::channels_last);
  EXPECT_EQ(format_of(MemoryFormat::channels_last_3d, {2, 3, 4, 5, 6}).memory_format,
            MemoryFormat::channels_last_3d);
  EXPECT_EQ(
      error_of(ErrorCode::argument, [&] { format_of(MemoryFormat::channels_last, {2, 3, 4}); }),
      "the memory format must go with the shape: it needs 4 dimensions, got 3");
}

TEST(Container, StreamBitsAreThoseOfTheSegmentsCodedAlone) {
  Random random(24);
  const DType dtype = DType::int16;
  const Parameters p = default_parameters(dtype);
  const Bytes memory = random_memory(random, dtype, 3 * segment_words + 100);
  const WordSpan words{memory.data(), 3 * segment_words + 100, 2};
  StreamBits expected;
  std::uint64_t payload = 0;
  for (std::uint64_t first = 0; first < words.count; first += segment_words) {
    const StreamBits bits =
        count_bits(p, words.part(first, std::min(segment_words, words.count - first)));
    expected += bits;
    payload += bytes_for_bits(bits.zero) + bytes_for_bits(bits.plane);
  }
  const ContainerInfo info = inspect(compressed(
      {dtype, MemoryFormat::contiguous, {static_cast<std::int64_t>(words.count)}}, p, memory));
  EXPECT_EQ(info.raw_segments, 0U);
  EXPECT_EQ(info.zero_stream_bits, expected.zero);
  EXPECT_EQ(info.plane_stream_bits, expected.plane);
  EXPECT_EQ(info.container_bytes, info.header_bytes + payload);
}

TEST(Container, NoiseIsStoredRawAndNothingIsLarger) {
  Random random(25);
  for (std::size_t i = 0; i < 2 * all_dtypes.size(); ++i) {
    const DType dtype = all_dtypes.at(i / 2);
    SCOPED_TRACE(traits(dtype).name);
    const TensorInfo tensor{dtype, MemoryFormat::contiguous, {2 * segment_words + 50}};
    const Bytes memory = noise(random, memory_bytes(tensor));
    const Bytes container =
        compressed(tensor, default_parameters(dtype), memory, {}, all_codecs.at(i % 2));
    ASSERT_EQ(decompressed(container), memory);
    const ContainerInfo info = inspect(container);
    EXPECT_EQ(info.raw_segments, info.segments);
    EXPECT_EQ(info.raw_words, info.words);
    EXPECT_EQ(info.zero_stream_bits + info.plane_stream_bits, 0U);
    EXPECT_EQ(container.size(), memory.size() + info.header_bytes);
    EXPECT_LE(container.size(), max_compressed_bytes(tensor));
  }
}

TEST(Container, SegmentsChooseForThemselvesWhetherTheyAreRaw) {
  for (const DType dtype : all_dtypes) {
    const ContainerInfo info = inspect(mixed_container(dtype));
    EXPECT_EQ(info.segments, 2U);
    EXPECT_EQ(info.raw_segments, 1U);
    EXPECT_EQ(info.raw_words, 9U);
  }
}

TEST(Container, TheSizeBoundIsTheTensorAndOnePercentAnd256Bytes) {
  Random random(26);
  for (const DType dtype : all_dtypes) {
    for (std::size_t dims : {0, 1, 4, 24}) {
      for (const std::int64_t words : {0, 1, 100, 4096, 4097, 100'000, 10'000'000}) {
        if (dims == 0 && words != 1) continue;
        TensorInfo tensor{dtype, MemoryFormat::contiguous, std::vector<std::int64_t>(dims, 1)};
        if (dims > 0) tensor.shape[0] = words;
        SCOPED_TRACE(described(tensor));
        const std::uint64_t bytes = memory_bytes(tensor);
        EXPECT_LE(100 * max_compressed_bytes(tensor), 101 * bytes + 26000);
        if (words > 100'000) continue;
        const Bytes memory = noise(random, bytes);
        for (const Codec codec : all_codecs) {
          EXPECT_LE(compressed(tensor, default_parameters(dtype), memory, {}, codec).size(),
                    max_compressed_bytes(tensor));
        }
      }
    }
  }
}

TEST(Container, CompressingWritesOnlyIntoItsBuffer) {
  Random random(27);
  for (const std::size_t words : {0, 1, 7, 4096, 4099}) {
    const TensorInfo tensor{
        DType::int8, MemoryFormat::contiguous, {static_cast<std::int64_t>(words)}};
    for (const Bytes& memory : {noise(random, words), random_memory(random, DType::int8, words)}) {
      for (const auto guard : {GuardedBytes::Guard::before, GuardedBytes::Guard::behind}) {
        for (const Codec codec : all_codecs) {
          const GuardedBytes in(memory, guard);
          const GuardedBytes out(Bytes(max_compressed_bytes(tensor)), guard);
          const std::uint64_t size = compress(tensor, {codec, default_parameters(DType::int8)},
                                              in.span().data(), out.span());
          const GuardedBytes container(out.span().first(size), guard);
          const GuardedBytes back(Bytes(words), guard);
          ContainerReader(container.span()).read(back.span().data(), words);
          EXPECT_EQ(Bytes(back.span().begin(), back.span().end()), memory);
        }
      }
    }
  }
}

TEST(Container, BytesAreTheSameForAnyNumberOfThreads) {
  Random random(28);
  for (const DType dtype : {DType::int8, DType::float32}) {
    const std::size_t words = 70 * segment_words + 123;  // several tasks of 16 segments
    Bytes memory = random_memory(random, dtype, words);
    const Bytes raw = noise(random, memory.size() / 7);
    std::copy(raw.begin(), raw.end(), memory.begin() + 999);
    const TensorInfo tensor{dtype, MemoryFormat::contiguous, {static_cast<std::int64_t>(words)}};
    const Parameters p = default_parameters(dtype);
    for (const Codec codec : all_codecs) {
      const Bytes alone = compressed(tensor, p, memory, {}, codec);
      for (const std::size_t threads : {1, 2, 3, 8, 64}) {
        ASSERT_EQ(compressed(tensor, p, memory, std_threads(threads), codec), alone) << threads;
        ASSERT_EQ(decompressed(alone, std_threads(threads)), memory) << threads;
      }
    }
  }
}

TEST(Container, TooManyOrImpossibleSizesAreRefused) {
  const auto message = [](std::vector<std::int64_t> shape) {
    const TensorInfo tensor{DType::int16, MemoryFormat::contiguous, std::move(shape)};
    Bytes memory(2), out(1000);
    return error_of(ErrorCode::argument, [&] {
      compress(tensor, {Codec::ebpc, default_parameters(DType::int16)}, memory.data(), out);
    });
  };
  EXPECT_EQ(message(std::vector<std::int64_t>(25, 1)),
            "shape must have at most 24 dimensions, got 25");
  EXPECT_EQ(message({2, -1}), "shape must have no negative size, got -1");
  EXPECT_EQ(message({1LL << 62}), "shape must describe less than 2^63 bytes, got more");
  EXPECT_EQ(message({1LL << 40, 1LL << 40}), "shape must describe less than 2^63 bytes, got more");
  EXPECT_EQ(message({1LL << 40, 0, 1LL << 40}),
            "shape must describe less than 2^63 bytes, got more");
}

TEST(Container, ABufferThatIsTooSmallIsRefused) {
  const TensorInfo tensor{DType::int8, MemoryFormat::contiguous, {5}};
  const Bytes memory(5);
  Bytes out(max_compressed_bytes(tensor) - 1);
  EXPECT_EQ(error_of(ErrorCode::argument,
                     [&] {
                       compress(tensor, {Codec::ebpc, default_parameters(DType::int8)},
                                memory.data(), out);
                     }),
            "out must have room for 81 bytes, got 80");
  const Bytes container = compressed(tensor, default_parameters(DType::int8), memory);
  Bytes words(6);
  for (const std::uint64_t size : {0, 4, 6}) {
    EXPECT_EQ(
        error_of(ErrorCode::argument, [&] { ContainerReader(container).read(words.data(), size); }),
        "words_bytes must be 5, got " + std::to_string(size));
  }
}

TEST(Container, AWordThatDoesNotFitIsRefused) {
  const TensorInfo tensor{DType::int16, MemoryFormat::contiguous, {3}};
  const Bytes memory = stored({1, 2047, 2048}, 2, true);
  Bytes out(max_compressed_bytes(tensor));
  EXPECT_EQ(error_of(ErrorCode::argument,
                     [&] {
                       compress(tensor,
                                {Codec::ebpc, parameters_for(DType::int16, 12, 8, 16, Base::sent)},
                                memory.data(), out);
                     }),
            "every value must fit into word_bits = 12, got 2048 at index 2");
}

TEST(Container, InspectReadsTheHeaderAlone) {
  Bytes container = mixed_container(DType::int8);
  const ContainerInfo whole = inspect(container);
  container.back() ^= 1;  // of the payload
  EXPECT_EQ(inspect(container).container_bytes, whole.container_bytes);
  EXPECT_NE(error_of(ErrorCode::checksum, [&] { decompressed(container); }), "");
}

}  // namespace
}  // namespace ebpc::test
