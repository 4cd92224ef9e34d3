// Several callers at once, each with threads of its own: nothing is shared but what is only read.

#include <atomic>
#include <thread>
#include <vector>

#include "container_data.h"
#include "ebpc/container_stream.h"
#include "test_threads.h"

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
    decompress_range(container, {first, 10'000}, part.data(), part.size(), std_threads(2));
    EXPECT_TRUE(std::equal(part.begin(), part.end(),
                           memory.begin() + static_cast<std::ptrdiff_t>(2 * first)));
    Bytes whole(2 * words);
    EXPECT_TRUE(recover(container, whole.data(), whole.size(), std_threads(2)).empty());
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
                    [&] { decompress(container, memory.data(), words, executor); });
  };
  const std::string alone = error({});
  EXPECT_NE(alone.find("(segment 70)"), std::string::npos);
  for (const std::size_t threads : {2, 3, 8, 64}) EXPECT_EQ(error(std_threads(threads)), alone);
}

}  // namespace
}  // namespace ebpc::test
