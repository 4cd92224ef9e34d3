// Containers whose segments choose their codings: the choice, and the codings in planes, whose
// streams are those of the public functions. entropy_coding_test.cpp has the others.

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

/// A segment's bytes in a coding in planes, by FORMAT.md and the functions for whole transmissions.
Bytes coded_by_hand(std::uint32_t coding, Parameters p, WordSpan words) {
  Bytes zero;
  Bytes plane;
  Bytes unused;
  if (coding == coding_default) {
    encode(p, words, zero, plane);
  } else {
    p.base = Base::reused;
    p.block_size = std::array{0, 15, 31, 63}.at(coding % 4);
    p.max_zero_run = 256;
    encode(p, words, zero, plane);
    if (coding / 4 == 0) zero.clear();
    if (coding / 4 == 1) encode(Method::zvc, p, words, zero, unused);
  }
  zero.insert(zero.end(), plane.begin(), plane.end());
  return zero;
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

TEST(SegmentCoding, IsTheSmallestOfThoseThatFewWordsAreCountedIn) {
  Random random(81);
  for (int round = 0; round < 3000; ++round) {
    const DType dtype = all_dtypes[random() % all_dtypes.size()];
    const std::size_t words = 1 + random() % (round % 10 == 0 ? 1000 : 70);
    SCOPED_TRACE(std::string(traits(dtype).name) + " " + std::to_string(words));
    const TensorInfo tensor{dtype, MemoryFormat::contiguous, {static_cast<std::int64_t>(words)}};
    const Parameters p = default_parameters(dtype);
    const Bytes memory = segment_memory(random, p, traits(dtype).bytes, words);
    const Bytes container = compressed(tensor, p, memory, {}, Codec::automatic);
    ASSERT_EQ(decompressed(container), memory);
    const std::uint32_t chosen = first_entry(container).coding;
    const Bytes payload(
        container.begin() + static_cast<std::ptrdiff_t>(inspect(container).header_bytes),
        container.end());
    const WordSpan span{memory.data(), words, traits(dtype).bytes};
    EXPECT_LE(payload.size(), memory.size());
    const bool any_zero = count_nonzero(p, span) < words;
    for (const std::uint32_t coding : {1U, 3U, 5U, 7U, 13U, 15U, coding_default}) {
      if (coding < 4 && any_zero) continue;
      const Bytes by_hand = coded_by_hand(coding, p, span);
      EXPECT_LE(payload.size(), by_hand.size()) << coding;
      if (coding == chosen) {
        EXPECT_EQ(payload, by_hand);
      }
    }
  }
}

TEST(SegmentCoding, ComesBackFromWordsNarrowerThanTheirDtype) {
  Random random(83);
  for (const DType dtype : {DType::int8, DType::uint8, DType::int16, DType::uint16, DType::int32}) {
    for (int word_bits = 2; word_bits < 8 * traits(dtype).bytes; word_bits += 3) {
      SCOPED_TRACE(std::string(traits(dtype).name) + " " + std::to_string(word_bits));
      const Parameters p = parameters_for(dtype, word_bits, 8, 16, Base::sent);
      const std::size_t words = 3 * segment_words + 77;
      const Bytes memory = varied_memory(random, p, traits(dtype).bytes, words);
      EXPECT_EQ(decompressed(compressed(
                    {dtype, MemoryFormat::contiguous, {static_cast<std::int64_t>(words)}}, p,
                    memory, {}, Codec::automatic)),
                memory);
    }
  }
}

TEST(SegmentCoding, EveryOneThatIsWrittenIsTheSmallestOfSomething) {
  std::array<bool, coding_count> seen{};
  for (const Bytes& container : containers_of_every_coding())
    seen.at(first_entry(container).coding) = true;
  for (std::uint32_t i = 0; i < coding_count; ++i) EXPECT_TRUE(seen.at(i)) << i;
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
