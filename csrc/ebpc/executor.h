// How the container asks its host for threads, without knowing where they come from.

#pragma once

#include <cstddef>
#include <functional>

namespace ebpc {

struct Executor {
  std::size_t threads = 1;

  /// Calls `work` `workers` times, at the same time where possible, and returns when all are done.
  /// `work` takes its share by itself and does not throw. Null: no threads.
  std::function<void(std::size_t workers, const std::function<void()>& work)> run;
};

/// The threads that for_each_index uses for `count` tasks.
std::size_t worker_count(const Executor& executor, std::size_t count);

/// Calls task(worker, index) for every index below `count` from worker_count() threads, numbered
/// from 0, in which each takes the lowest index that is left. If tasks throw, the exception of the
/// lowest such index is thrown after all threads have stopped, so that the outcome does not depend
/// on their number.
void for_each_index(const Executor& executor, std::size_t count,
                    const std::function<void(std::size_t worker, std::size_t index)>& task);

}  // namespace ebpc
