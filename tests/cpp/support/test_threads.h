// An executor of real threads.

#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

#include "ebpc/executor.h"

namespace ebpc::test {

inline Executor std_threads(std::size_t threads) {
  return {threads, [](std::size_t workers, const std::function<void()>& work) {
            std::vector<std::jthread> running;
            for (std::size_t i = 0; i < workers; ++i) running.emplace_back(work);
          }};
}

}  // namespace ebpc::test
