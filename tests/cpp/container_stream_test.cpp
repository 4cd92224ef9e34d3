// Containers written and read in pieces: the same bytes and the same words as in one go, whatever
// the pieces; and the same refusals.

#include "ebpc/container_stream.h"

#include <string>
#include <vector>

#include "ebpc/container_layout.h"
#include "support/container_data.h"
#include "support/test_threads.h"

namespace ebpc::test {
namespace {

struct Pieces {
  std::string name;
  std::function<std::size_t(Random&)> next;
};

const std::vector<Pieces> all_pieces{
    {"one word", [](Random&) { return std::size_t{1}; }},
    {"a segment", [](Random&) { return std::size_t{4096}; }},
    {"all", [](Random&) { return std::size_t{1} << 30; }},
    {"any", [](Random& random) { return static_cast<std::size_t>(random() % 9000); }},
};

Bytes encoded_in_pieces(const TensorInfo& tensor, const Parameters& p, const Bytes& memory,
                        const Pieces& pieces, const Executor& executor = {},
                        Codec codec = Codec::ebpc) {
  Random random(41);
  ContainerEncoder encoder(tensor, {codec, p}, executor);
  Bytes payload;
  const WordSpan words{memory.data(), word_count(tensor), traits(tensor.dtype).bytes};
  for (std::size_t first = 0; first < words.count;) {
    const std::size_t count = std::min(pieces.next(random), words.count - first);
    encoder.push(words.part(first, count), payload);
    first += count;
  }
  Bytes container = encoder.finish();
  EXPECT_EQ(container.size(), encoder.header_bytes());
  container.insert(container.end(), payload.begin(), payload.end());
  return container;
}

Bytes decoded_in_pieces(const Bytes& container, const Pieces& pieces,
                        const Executor& executor = {}) {
  Random random(42);
  ContainerDecoder decoder(executor);
  Bytes memory;
  for (std::size_t first = 0; first < container.size();) {
    const std::size_t count = std::min(pieces.next(random), container.size() - first);
    for (const std::uint64_t words :
         push_and_take(decoder, std::span(container).subspan(first, count), memory)) {
      EXPECT_LE(words, 256 * segment_words);
    }
    first += count;
  }
  decoder.finish();
  return memory;
}

/// Words of which some segments are coded and some are raw.
Bytes mixed_memory(Random& random, DType dtype, std::size_t words) {
  Bytes memory = random_memory(random, dtype, words);
  const Bytes raw = noise(random, memory.size() / 3);
  std::copy(raw.begin(), raw.end(), memory.begin());
  return memory;
}

TEST(ContainerStream, PiecesOfAnySizeGiveTheBytesAndWordsOfOneGo) {
  Random random(43);
  for (const DType dtype : all_dtypes) {
    for (const std::int64_t count : {0, 1, 4095, 4096, 4097, 12'288, 20'000}) {
      const TensorInfo tensor{dtype, MemoryFormat::contiguous, {count}};
      const Parameters p = default_parameters(dtype);
      const Bytes memory = mixed_memory(random, dtype, static_cast<std::size_t>(count));
      for (const Codec codec : all_codecs) {
        const Bytes whole = compressed(tensor, p, memory, {}, codec);
        for (const Pieces& pieces : all_pieces) {
          SCOPED_TRACE(std::string(traits(dtype).name) + " " + std::to_string(count) + " by " +
                       pieces.name);
          ASSERT_EQ(encoded_in_pieces(tensor, p, memory, pieces, {}, codec), whole);
          ASSERT_EQ(decoded_in_pieces(whole, pieces), memory);
        }
      }
    }
  }
}

TEST(ContainerStream, ThreadsChangeNothing) {
  Random random(44);
  const TensorInfo tensor{DType::int16, MemoryFormat::channels_last, {3, 70, 33, 60}};
  const Bytes memory = mixed_memory(random, DType::int16, word_count(tensor));
  for (const Codec codec : all_codecs) {
    const Parameters p = codec == Codec::ebpc
                             ? parameters_for(DType::int16, 0, 16, 64, Base::reused)
                             : default_parameters(DType::int16);
    const Bytes whole = compressed(tensor, p, memory, {}, codec);
    for (const Pieces& pieces : {all_pieces[2], all_pieces[3]}) {
      EXPECT_EQ(encoded_in_pieces(tensor, p, memory, pieces, std_threads(3), codec), whole);
      EXPECT_EQ(decoded_in_pieces(whole, pieces, std_threads(3)), memory);
    }
  }
}

TEST(ContainerStream, TheHeaderIsKnownAsSoonAsItIsThere) {
  const Bytes container = mixed_container(DType::int8);
  const ContainerInfo info = inspect(container);
  ContainerDecoder decoder;
  decoder.push(std::span(container).first(info.header_bytes - 1));
  EXPECT_EQ(decoder.info(), nullptr);
  decoder.push(std::span(container).subspan(info.header_bytes - 1, 1));
  EXPECT_EQ(decoder.ready_words(), 0U);
  ASSERT_NE(decoder.info(), nullptr);
  EXPECT_EQ(decoder.info()->tensor, info.tensor);
  EXPECT_EQ(decoder.info()->raw_segments, info.raw_segments);
}

TEST(ContainerStream, WhatThePayloadStandsForComesInBoundedPieces) {
  // 3 bytes of a zero run for each 16 KiB.
  const std::uint64_t words = 1000 * segment_words;
  const TensorInfo tensor{DType::int32, MemoryFormat::contiguous, {static_cast<int>(words)}};
  const Parameters p = parameters_for(DType::int32, 0, 8, 65536, Base::sent);
  const Bytes memory(4 * words);
  const Bytes container = compressed(tensor, p, memory);
  ContainerDecoder decoder;
  Bytes found;
  EXPECT_EQ(push_and_take(decoder, container, found),
            (std::vector<std::uint64_t>{256 * 4096, 256 * 4096, 256 * 4096, 232 * 4096}));
  decoder.finish();
}

TEST(ContainerStream, DamageAndCutsAreNoticed) {
  const Bytes container = mixed_container(DType::int8);
  const auto message = [](ErrorCode code, const Bytes& bytes) {
    return error_of(code, [&] { decoded_in_pieces(bytes, all_pieces[0]); });
  };
  Bytes damaged = container;
  damaged.back() ^= 1;
  EXPECT_EQ(message(ErrorCode::checksum, damaged).find("container at byte "), 0U);
  damaged = container;
  damaged[50] ^= 1;
  EXPECT_EQ(message(ErrorCode::checksum, damaged).find("container at byte "), 0U);
  damaged = container;
  damaged[layout::at_header_bytes] = 3;
  EXPECT_EQ(message(ErrorCode::format, damaged),
            "container at byte 20 (header bytes): expected from 52 to 52, found 3");
  damaged = container;
  damaged.push_back(0);
  EXPECT_EQ(message(ErrorCode::format, damaged),
            "container at byte " + std::to_string(container.size()) +
                " (container bytes): expected the end, found 1 more bytes");
  damaged = container;
  damaged.pop_back();
  EXPECT_EQ(message(ErrorCode::format, damaged),
            "container at byte " + std::to_string(damaged.size()) +
                " (container bytes): expected " + std::to_string(container.size()) +
                " bytes, found the end");
  EXPECT_EQ(message(ErrorCode::format, Bytes(container.begin(), container.begin() + 30)),
            "container at byte 30 (container bytes): expected a header, found the end");
}

TEST(ContainerStream, WordsThatTheTensorDoesNotHaveAreRefused) {
  const TensorInfo tensor{DType::int16, MemoryFormat::contiguous, {3}};
  const Bytes memory = stored({1, 2, 3, 2048}, 2, true);
  Bytes payload;
  ContainerEncoder encoder(tensor,
                           {Codec::ebpc, parameters_for(DType::int16, 12, 8, 16, Base::sent)});
  const auto refused = [&](WordSpan words) {
    return error_of(ErrorCode::argument, [&] { encoder.push(words, payload); });
  };
  encoder.push({memory.data(), 2, 2}, payload);
  EXPECT_EQ(refused({memory.data(), 2, 2}),
            "there must be at most the 1 words that are left, got 2");
  EXPECT_EQ(refused({memory.data(), 1, 4}), "words must have 2 bytes, got 4");
  EXPECT_EQ(refused({memory.data() + 6, 1, 2}),
            "every value must fit into word_bits = 12, got 2048 at index 2");
  EXPECT_EQ(error_of(ErrorCode::argument, [&] { encoder.finish(); }),
            "all 3 words must have been pushed, got 2");
  encoder.push({memory.data() + 4, 1, 2}, payload);
  Bytes container = encoder.finish();
  container.insert(container.end(), payload.begin(), payload.end());
  EXPECT_EQ(decompressed(container), Bytes(memory.begin(), memory.begin() + 6));
}

TEST(ContainerStream, TensorsAndParametersThatAreNoneAreRefused) {
  const auto refused = [](std::vector<std::int64_t> shape, const Parameters& p) {
    return error_of(ErrorCode::argument, [&] {
      ContainerEncoder({DType::int8, MemoryFormat::contiguous, std::move(shape)}, {Codec::ebpc, p});
    });
  };
  const Parameters p = default_parameters(DType::int8);
  EXPECT_EQ(refused({-1}, p), "shape must have no negative size, got -1");
  EXPECT_EQ(refused({1LL << 42}, p),
            "the tensor must have less words than a header has room for, 2^32 / 8 segments of 4096,"
            " got 4398046511104");
  EXPECT_EQ(refused({4}, default_parameters(DType::int16)),
            "word_bits must be at most 8 for int8, got 16");
  EXPECT_EQ(error_of(ErrorCode::argument,
                     [] {
                       ContainerEncoder(
                           {DType::int8, MemoryFormat::contiguous, {4}},
                           {Codec::automatic, parameters_for(DType::int8, 0, 16, 16, Base::sent)});
                     }),
            "block_size must be left at 8 with codec 'auto', which chooses it by segment, got 16");
}

}  // namespace
}  // namespace ebpc::test
