// Containers of version 3: other zero words than 0, zeros of both signs, and the dtypes that
// version 1 does not know.

#include <bit>
#include <string>

#include "support/container_data.h"
#include "support/test_threads.h"

namespace ebpc::test {
namespace {

using namespace layout;

TensorInfo row_of(DType dtype, std::uint64_t words) {
  const auto each = static_cast<std::uint64_t>(traits(dtype).words_per_element);
  return {dtype, MemoryFormat::contiguous, {static_cast<std::int64_t>(words / each)}};
}

Bytes written(const TensorInfo& tensor, const ContainerCode& code, const Bytes& memory,
              const Executor& executor = {}) {
  Bytes out(max_compressed_bytes(tensor));
  out.resize(compress(tensor, code, memory.data(), out, executor));
  return out;
}

Bytes written_in_pieces(const TensorInfo& tensor, const ContainerCode& code, const Bytes& memory) {
  Random random(51);
  ContainerEncoder encoder(tensor, code);
  Bytes payload;
  const WordSpan words{memory.data(), word_count(tensor), traits(tensor.dtype).bytes};
  for (std::size_t first = 0; first < words.count;) {
    const std::size_t count = std::min<std::size_t>(random() % 9000, words.count - first);
    encoder.push(words.part(first, count), payload);
    first += count;
  }
  Bytes container = encoder.finish();
  container.insert(container.end(), payload.begin(), payload.end());
  return container;
}

/// Words of which many are zero, of either sign where the dtype has both, in proportions that
/// change from segment to segment: none, one sign alone, both.
Bytes signed_zeros(Random& random, DType dtype, std::uint64_t words) {
  const Parameters p = default_parameters(dtype);
  Values values = random_values(random, p, words);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint64_t kind = i / segment_words % 4;
    if (values[i] != 0) continue;
    if (kind == 1 || (kind == 2 && random() % 3 == 0)) values[i] = negative_zero(p);
    if (kind == 3) values[i] = 1;
  }
  return stored(values, traits(dtype).bytes, p.is_signed);
}

/// Words of which none has its top bit set.
Bytes positive_memory(Random& random, DType dtype, std::uint64_t words) {
  const Parameters p = default_parameters(dtype);
  Values values = random_values(random, p, words);
  for (auto& value : values) value = std::max<std::int64_t>(value, 0);
  return stored(values, traits(dtype).bytes, p.is_signed);
}

/// Whole, in pieces, in parts, in threads: the same bytes and the same words.
void expect_round_trip(const TensorInfo& tensor, const ContainerCode& code, const Bytes& memory) {
  const Bytes container = written(tensor, code, memory);
  ASSERT_EQ(inspect(container).version, 3);
  EXPECT_EQ(inspect(container).tensor, tensor);
  ASSERT_EQ(decompressed(container), memory);
  EXPECT_EQ(written(tensor, code, memory, std_threads(3)), container);
  EXPECT_EQ(decompressed(container, std_threads(3)), memory);
  EXPECT_EQ(written_in_pieces(tensor, code, memory), container);
  ContainerDecoder decoder;
  Bytes pieces;
  push_and_take(decoder, std::span(container).first(container.size() / 2), pieces);
  push_and_take(decoder, std::span(container).subspan(container.size() / 2), pieces);
  decoder.finish();
  EXPECT_EQ(pieces, memory);
  const std::uint64_t words = word_count(tensor);
  const auto size = static_cast<std::uint64_t>(traits(tensor.dtype).bytes);
  Bytes part((words - words / 3) * size);
  ContainerReader(container).read_range({words / 3, words - words / 3}, part.data(), part.size());
  EXPECT_TRUE(std::equal(part.begin(), part.end(),
                         memory.begin() + static_cast<std::ptrdiff_t>(words / 3 * size)));
}

TEST(ContainerZero, EveryDtypeComesBackWithEveryCodec) {
  Random random(50);
  for (int i = 0; i < dtype_count; ++i) {
    const auto dtype = static_cast<DType>(i);
    SCOPED_TRACE(traits(dtype).name);
    const TensorInfo tensor = row_of(dtype, 20'000);
    for (const Codec codec : all_codecs) {
      ContainerCode code{codec, default_parameters(dtype)};
      if (i >= dtypes_before_version_3) {
        ASSERT_NO_FATAL_FAILURE(
            expect_round_trip(tensor, code, random_memory(random, dtype, 20'000)));
        ASSERT_NO_FATAL_FAILURE(expect_round_trip(
            tensor, code, noise(random, 20'000 * static_cast<std::size_t>(traits(dtype).bytes))));
      }
      code.parameters.zero = random() % 2 == 0 ? max_word(code.parameters) : 5;
      ASSERT_NO_FATAL_FAILURE(
          expect_round_trip(tensor, code,
                            stored(random_values(random, code.parameters, 20'000),
                                   traits(dtype).bytes, code.parameters.is_signed)));
      EXPECT_EQ(
          inspect(written(tensor, code, random_memory(random, dtype, 20'000))).code.parameters.zero,
          code.parameters.zero);
    }
  }
}

TEST(ContainerZero, ZerosOfBothSignsComeBackWithTheirSigns) {
  Random random(52);
  for (int i = 0; i < dtype_count; ++i) {
    const auto dtype = static_cast<DType>(i);
    if (!traits(dtype).has_negative_zero) continue;
    SCOPED_TRACE(traits(dtype).name);
    for (const Codec codec : all_codecs) {
      const ContainerCode code{codec, default_parameters(dtype), Zeros::both_signs};
      for (const std::uint64_t words : {0U, 4U, 1000U, 5 * 4096U + 100U}) {
        ASSERT_NO_FATAL_FAILURE(
            expect_round_trip(row_of(dtype, words), code, signed_zeros(random, dtype, words)));
      }
      EXPECT_EQ(
          inspect(written(row_of(dtype, 64), code, signed_zeros(random, dtype, 64))).code.zeros,
          Zeros::both_signs);
    }
  }
}

TEST(ContainerZero, AZeroPointCostsLessThanAThousandth) {
  Random random(53);
  for (const Codec codec : all_codecs) {
    // A rectified map, as unsigned words with zero point 0, and as signed ones with -128.
    const Parameters p = parameters_for(DType::uint8, 0, 8, 16, Base::sent);
    Values values = random_values(random, p, 200 * segment_words);
    const Bytes map = stored(values, 1, false);
    for (auto& value : values) value -= 128;
    const Bytes shifted = stored(values, 1, true);
    const double expected =
        static_cast<double>(written(row_of(DType::uint8, values.size()), {codec, p}, map).size());
    const ContainerCode code{codec,
                             parameters_for(DType::int8, 0, 8, 16, Base::sent, /*zero=*/-128)};
    const double found =
        static_cast<double>(written(row_of(DType::int8, values.size()), code, shifted).size());
    EXPECT_LT(found / expected, 1.0025);  // of which 0.0015 are the longer table's
    EXPECT_EQ(with_suitable_zero(DType::int8, {codec, default_parameters(DType::int8)},
                                 {shifted.data(), shifted.size(), 1}),
              code);
  }
}

TEST(ContainerZero, NegativeZerosCostABitEachAtMost) {
  Random random(54);
  const std::uint64_t words = 100 * segment_words;
  Bytes memory = positive_memory(random, DType::float32, words);
  const TensorInfo tensor = row_of(DType::float32, words);
  const Parameters p = default_parameters(DType::float32);
  const std::uint64_t positive = written(tensor, {Codec::ebpc, p}, memory).size();
  std::uint64_t zeros = 0;
  for (std::size_t i = 0; i < memory.size(); i += 4) {
    std::uint32_t word;
    std::memcpy(&word, &memory[i], 4);
    if (word != 0) continue;
    ++zeros;
    if (random() % 2 == 0) memory[i + (std::endian::native == std::endian::little ? 3 : 0)] = 0x80;
  }
  ASSERT_GT(zeros, words / 4);
  const ContainerCode both{Codec::ebpc, p, Zeros::both_signs};
  EXPECT_EQ(with_suitable_zero(DType::float32, {Codec::ebpc, p}, {memory.data(), words, 4}), both);
  EXPECT_LE(written(tensor, both, memory).size(), positive + zeros / 8 + 6 * 100);
  EXPECT_GT(written(tensor, {Codec::ebpc, p}, memory).size(), positive + zeros / 2);
}

TEST(ContainerZero, WhatNeedsNothingNewIsWrittenAsBefore) {
  Random random(55);
  const Bytes memory = positive_memory(random, DType::bfloat16, 10'000);
  const WordSpan words{memory.data(), 10'000, 2};
  const Parameters p = default_parameters(DType::bfloat16);
  EXPECT_EQ(with_suitable_zero(DType::bfloat16, {Codec::ebpc, p}, words),
            (ContainerCode{Codec::ebpc, p}));
  EXPECT_EQ(version_of(DType::bfloat16, {Codec::ebpc, p}), 1);
  EXPECT_EQ(version_of(DType::bfloat16, {Codec::automatic, p}), 3);
}

TEST(ContainerZero, CodesThatDoNotGoTogetherAreRefused) {
  const auto message = [](DType dtype, const ContainerCode& code) {
    return error_of(ErrorCode::argument, [&] { ContainerEncoder(row_of(dtype, 4), code); });
  };
  EXPECT_EQ(message(DType::int8, {Codec::ebpc, default_parameters(DType::int8), Zeros::both_signs}),
            "both signs of zero need words of a dtype that has them, got int8");
  EXPECT_EQ(
      message(DType::float32, {Codec::ebpc, parameters_for(DType::float32, 0, 8, 16, Base::sent, 1),
                               Zeros::both_signs}),
      "zero must be 0 where both signs of it count, got 1");
  EXPECT_EQ(message(DType::float64, {Codec::ebpc, {.word_bits = 16}}),
            "word_bits must be 32 for float64, got 16");
}

/// With right checksums.
std::string error_of_forged(Bytes container, std::uint64_t at, std::uint8_t value) {
  container.at(at) = value;
  const std::uint64_t header = load<std::uint32_t>(&container[at_header_bytes]);
  store<std::uint32_t>(&container[header - 4],
                       portable_kernel.crc32c(0, container.data(), header - 4));
  return error_of(ErrorCode::format, [&] { decompressed(container); });
}

TEST(ContainerZero, ForgedFieldsAreRefused) {
  Random random(56);
  const ContainerCode code{Codec::ebpc, default_parameters(DType::bfloat16), Zeros::both_signs};
  Bytes memory = signed_zeros(random, DType::bfloat16, 3 * segment_words);
  const Bytes container = written(row_of(DType::bfloat16, 3 * segment_words), code, memory);
  const std::uint64_t table = table_offset(3, inspect(container).tensor);
  EXPECT_EQ(SegmentEntry::read(&container[table + 12], 3).zeros, SegmentZeros::negative);
  EXPECT_EQ(SegmentEntry::read(&container[table + 24], 3).zeros, SegmentZeros::both);
  EXPECT_EQ(error_of_forged(container, at_zeros, 2),
            "container at byte 18 (zeros): expected less than 2, found 2");
  EXPECT_EQ(error_of_forged(container, at_zeros + 1, 1),
            "container at byte 19 (reserved): expected 0, found 1");
  EXPECT_EQ(error_of_forged(container, at_zero, 1),
            "container at byte 48 (zero): expected 0, found 1");
  EXPECT_EQ(error_of_forged(container, at_zero + 3, 1),
            "container at byte 48 (zero): expected a word of 16 bits, found 16777216");
  EXPECT_EQ(error_of_forged(container, at_dtype, 20),
            "container at byte 10 (dtype): expected less than 20, found 20");
  const std::string where = "container at byte " + std::to_string(table + 24);
  EXPECT_EQ(error_of_forged(container, table + 24 + 5, 3),
            where + " (zeros of segment 2): expected less than 3, found 3");
  EXPECT_EQ(error_of_forged(container, table + 24 + 4, 2),
            where + " (coding of segment 2): expected 0 (raw) or 1 (EBPC), found 2");
  EXPECT_EQ(error_of_forged(container, table + 24 + 5, 0).substr(0, where.size() + 30),
            (where + " (bytes of signs of segment 2): expected 0").substr(0, where.size() + 30));
  // Signs of another number of zeros than there are, after right checksums.
  SegmentEntry entry = SegmentEntry::read(&container[table + 24], 3);
  entry.sign_bytes -= 1;
  entry.plane_bytes += 1;
  Bytes forged = container;
  entry.write(&forged[table + 24], 3);
  EXPECT_NE(error_of_forged(forged, at_zeros, 1), "");
}

TEST(ContainerZero, EveryFlippedBitIsNoticed) {
  Random random(57);
  const ContainerCode code{Codec::ebpc, default_parameters(DType::float16), Zeros::both_signs};
  const Bytes memory = signed_zeros(random, DType::float16, 3 * segment_words);
  Bytes some(memory.begin() + 2 * 2 * segment_words, memory.begin() + 2 * 2 * segment_words + 600);
  const Bytes container = written(row_of(DType::float16, 300), code, some);
  ASSERT_EQ(inspect(container).raw_segments, 0U);
  for (std::size_t bit = 0; bit < 8 * container.size(); ++bit) {
    Bytes damaged = container;
    damaged[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    EXPECT_THROW(decompressed(damaged), Error) << bit;
  }
}

}  // namespace
}  // namespace ebpc::test
