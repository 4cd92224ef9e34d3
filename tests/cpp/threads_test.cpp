// Several callers at once, each with threads of its own: nothing is shared but what is only read.

#include <atomic>
#include <thread>
#include <vector>

#include "ebpc/container_parse.h"
#include "ebpc/container_stream.h"
#include "ebpc/kernels/kernel.h"
#include "support/container_data.h"
#include "support/test_threads.h"

namespace ebpc::test {
namespace {

/// Runs `body(i)` in several threads, which start together.
template <class Body>
void at_once(int callers, Body&& body) {
  std::atomic<int> waiting{callers};
  std::vector<std::jthread> threads;
  for (int i = 0; i < callers; ++i) {
    threads.emplace_back([&, i] {
      --waiting;
      while (waiting > 0) std::this_thread::yield();
      body(i);
    });
  }
}

TEST(Threads, ConcurrentCallsDoNotDisturbEachOther) {
  at_once(4, [](int caller) {
    Random random(static_cast<std::uint64_t>(caller));
    const DType dtype = all_dtypes[static_cast<std::size_t>(caller) * 2];
    const std::uint64_t words = 40 * segment_words + static_cast<std::uint64_t>(caller);
    const TensorInfo tensor{dtype, MemoryFormat::contiguous, {static_cast<std::int64_t>(words)}};
    const Bytes memory = random_memory(random, dtype, words);
    const Parameters p = default_parameters(dtype);
    const Bytes alone = compressed(tensor, p, memory);
    for (int round = 0; round < 3; ++round) {
      EXPECT_EQ(compressed(tensor, p, memory, std_threads(2)), alone);
      EXPECT_EQ(decompressed(alone, std_threads(3)), memory);
    }
  });
}

TEST(Threads, AnEarlySlowSegmentDoesNotHoldUpTheOthers) {
  Random random(73);
  const std::uint64_t words = 60 * segment_words;
  const Parameters p = default_parameters(DType::int32);
  Bytes memory(4 * words);
  const Bytes slow = random_memory(random, DType::int32, segment_words);
  std::copy(slow.begin(), slow.end(), memory.begin());
  for (std::uint64_t segments = 4; segments <= 60; ++segments) {
    const TensorInfo part{DType::int32,
                          MemoryFormat::contiguous,
                          {static_cast<std::int64_t>(segments * segment_words)}};
    const Bytes part_memory(
        memory.begin(), memory.begin() + static_cast<std::ptrdiff_t>(4 * segments * segment_words));
    const Bytes alone = compressed(part, p, part_memory);
    for (const std::size_t threads : {2, 3, 8}) {
      EXPECT_EQ(compressed(part, p, part_memory, std_threads(threads)), alone);
    }
  }
}

TEST(Threads, SmallTensorsAreCodedByTheCallerAlone) {
  Random random(74);
  const Executor unused{8, [](std::size_t, const std::function<void()>& work) {
                          ADD_FAILURE();
                          work();
                        }};
  const std::uint64_t words = 7 * segment_words;
  const TensorInfo tensor{
      DType::int8, MemoryFormat::contiguous, {static_cast<std::int64_t>(words)}};
  const Bytes memory = random_memory(random, DType::int8, words);
  const Bytes container = compressed(tensor, default_parameters(DType::int8), memory, unused);
  EXPECT_EQ(decompressed(container, unused), memory);
}

TEST(Threads, ManyReadTheSameContainer) {
  Random random(71);
  const std::uint64_t words = 20 * segment_words;
  const TensorInfo tensor{
      DType::int16, MemoryFormat::contiguous, {static_cast<std::int64_t>(words)}};
  const Bytes memory = random_memory(random, DType::int16, words);
  const Bytes container = compressed(tensor, default_parameters(DType::int16), memory);
  at_once(4, [&](int caller) {
    const auto first = static_cast<std::uint64_t>(caller) * 5000;
    Bytes part(2 * 10'000);
    ContainerReader(container).read_range({first, 10'000}, part.data(), part.size(),
                                          std_threads(2));
    EXPECT_TRUE(std::equal(part.begin(), part.end(),
                           memory.begin() + static_cast<std::ptrdiff_t>(2 * first)));
    Bytes whole(2 * words);
    EXPECT_TRUE(ContainerReader(container, layout::Extent::header)
                    .recover(whole.data(), whole.size(), std_threads(2))
                    .empty());
    EXPECT_EQ(whole, memory);
  });
}

TEST(Threads, OneErrorIsThrownWhateverTheThreads) {
  Random random(72);
  const std::uint64_t words = 600 * segment_words;
  const TensorInfo tensor{
      DType::int8, MemoryFormat::contiguous, {static_cast<std::int64_t>(words)}};
  Bytes container = compressed(tensor, default_parameters(DType::int8), noise(random, words));
  const std::uint64_t header = inspect(container).header_bytes;
  for (const std::uint64_t i : {70, 300, 599}) container[header + i * segment_words] ^= 1;
  const auto error = [&](const Executor& executor) {
    Bytes memory(words);
    return error_of(ErrorCode::checksum,
                    [&] { ContainerReader(container).read(memory.data(), words, executor); });
  };
  const std::string alone = error({});
  EXPECT_NE(alone.find("(segment 70)"), std::string::npos);
  for (const std::size_t threads : {2, 3, 8, 64}) EXPECT_EQ(error(std_threads(threads)), alone);
}

// Segments of different codings are decoded out of order.
TEST(Threads, TheFirstDamageIsTheOneThatIsSaidWhateverItsKind) {
  using namespace layout;
  Random random(73);
  const Parameters p = default_parameters(DType::int8);
  const std::uint64_t words = 200 * segment_words;
  Bytes memory;
  for (std::uint64_t i = 0; i < words; i += segment_words) {
    const Bytes segment = segment_memory(random, p, 1, segment_words);
    memory.insert(memory.end(), segment.begin(), segment.end());
  }
  const TensorInfo tensor{
      DType::int8, MemoryFormat::contiguous, {static_cast<std::int64_t>(words)}};
  const Bytes intact = compressed(tensor, p, memory, {}, Codec::automatic);
  const ParsedContainer parsed = parse(intact, Extent::whole);
  for (int round = 0; round < 30; ++round) {
    Bytes container = intact;
    std::uint64_t first = words;
    for (int damage = 0; damage < 4; ++damage) {
      const std::uint64_t i = random() % parsed.segments.size();
      const SegmentPlace& place = parsed.segments[i];
      container[place.offset + place.bytes - 1] ^= 1;
      if (random() % 2 == 0) {  // noticed by its decoder alone, if at all
        store<std::uint32_t>(&container[table_offset(3, tensor) + entry_bytes(3) * i + 8],
                             portable_kernel.crc32c(0, &container[place.offset], place.bytes));
      }
    }
    store<std::uint32_t>(&container[parsed.info.header_bytes - 4],
                         portable_kernel.crc32c(0, container.data(), parsed.info.header_bytes - 4));
    for (std::uint64_t i = 0; i < parsed.segments.size(); ++i) {
      Bytes segment(segment_words);
      try {
        ContainerReader(container).read_range({i * segment_words, segment_words}, segment.data(),
                                              segment.size());
      } catch (const Error&) {
        first = std::min(first, i);
      }
    }
    if (first == words) continue;
    const auto error = [&](const Executor& executor) -> std::string {
      Bytes out(words);
      try {
        ContainerReader(container).read(out.data(), words, executor);
      } catch (const Error& error) {
        return error.what();
      }
      return "";
    };
    const std::string alone = error({});
    EXPECT_NE(alone.find("segment " + std::to_string(first) + ")"), std::string::npos) << alone;
    for (const std::size_t threads : {2, 3, 8}) EXPECT_EQ(error(std_threads(threads)), alone);
  }
}

}  // namespace
}  // namespace ebpc::test
