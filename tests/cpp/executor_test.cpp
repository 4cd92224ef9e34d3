#include "ebpc/executor.h"

#include <atomic>
#include <chrono>
#include <latch>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/test_threads.h"

namespace ebpc::test {
namespace {

TEST(Executor, EveryIndexIsDoneOnceByAWorkerInRange) {
  for (const std::size_t threads : {1, 2, 3, 8}) {
    for (const std::size_t count : {0, 1, 2, 7, 100}) {
      std::vector<std::atomic<int>> done(count);
      std::atomic<std::size_t> largest_worker{0};
      const Executor executor = std_threads(threads);
      for_each_index(executor, count, [&](std::size_t worker, std::size_t index) {
        ++done[index];
        for (std::size_t seen = largest_worker; worker > seen;) {
          if (largest_worker.compare_exchange_weak(seen, worker)) break;
        }
      });
      for (const auto& times : done) EXPECT_EQ(times, 1);
      EXPECT_LT(largest_worker, worker_count(executor, count));
    }
  }
}

TEST(Executor, WithoutThreadsEverythingRunsInOrder) {
  std::vector<std::size_t> order;
  for_each_index({}, 5, [&](std::size_t worker, std::size_t index) {
    EXPECT_EQ(worker, 0U);
    order.push_back(index);
  });
  EXPECT_EQ(order, (std::vector<std::size_t>{0, 1, 2, 3, 4}));
}

TEST(Executor, ThereAreNoMoreWorkersThanTasksAndAlwaysOne) {
  EXPECT_EQ(worker_count(std_threads(8), 3), 3U);
  EXPECT_EQ(worker_count(std_threads(2), 3), 2U);
  EXPECT_EQ(worker_count(std_threads(0), 3), 1U);
  EXPECT_EQ(worker_count(std_threads(8), 0), 1U);
  EXPECT_EQ(worker_count({.threads = 8, .run = nullptr}, 3), 1U);
}

TEST(Executor, TheErrorOfTheLowestIndexIsThrownWhateverTheThreads) {
  for (const std::size_t threads : {1, 2, 3, 8}) {
    for (int round = 0; round < 20; ++round) {
      try {
        for_each_index(std_threads(threads), 64, [](std::size_t, std::size_t index) {
          if (index == 11 || index == 12 || index == 40) {
            throw std::runtime_error(std::to_string(index));
          }
        });
        FAIL() << "nothing was thrown";
      } catch (const std::runtime_error& error) {
        EXPECT_STREQ(error.what(), "11");
      }
    }
  }
}

TEST(Executor, TheErrorOfTheLowestIndexIsThrownWhicheverComesFirst) {
  for (const std::size_t first : {0, 1}) {
    std::latch both_have_begun(2);
    std::atomic<bool> first_has_thrown{false};
    try {
      for_each_index(std_threads(2), 2, [&](std::size_t, std::size_t index) {
        both_have_begun.arrive_and_wait();
        if (index != first) {
          first_has_thrown.wait(false);
          std::this_thread::sleep_for(std::chrono::milliseconds(20));  // until it is caught
        }
        first_has_thrown = true;
        first_has_thrown.notify_all();
        throw std::runtime_error(std::to_string(index));
      });
      FAIL() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "0");
    }
  }
}

// A host may run all of the work on one thread, one after the other.
TEST(Executor, AHostThatRunsItsWorkersInTurnIsServed) {
  std::vector<int> done(10);
  const Executor in_turn{4, [](std::size_t workers, const std::function<void()>& work) {
                           for (std::size_t i = 0; i < workers; ++i) work();
                         }};
  for_each_index(in_turn, done.size(), [&](std::size_t, std::size_t index) { ++done[index]; });
  EXPECT_EQ(done, std::vector<int>(10, 1));
}

}  // namespace
}  // namespace ebpc::test
