#include "ebpc/executor.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

namespace ebpc {

std::size_t worker_count(const Executor& executor, std::size_t count) {
  return executor.run
             ? std::clamp<std::size_t>(executor.threads, 1, std::max<std::size_t>(count, 1))
             : 1;
}

void for_each_index(const Executor& executor, std::size_t count,
                    const std::function<void(std::size_t, std::size_t)>& task) {
  const std::size_t workers = worker_count(executor, count);
  if (workers <= 1) {
    for (std::size_t index = 0; index < count; ++index) task(0, index);
    return;
  }
  std::atomic<std::size_t> next_worker{0};
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::size_t failed_index = count;
  std::exception_ptr failure;
  executor.run(workers, [&] {
    const std::size_t worker = next_worker.fetch_add(1);
    for (std::size_t index; (index = next.fetch_add(1)) < count;) {
      try {
        task(worker, index);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (index < failed_index) {
          failed_index = index;
          failure = std::current_exception();
        }
        next = count;  // indices below this one are taken already
      }
    }
  });
  if (failure) std::rethrow_exception(failure);
}

}  // namespace ebpc
