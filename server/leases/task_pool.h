// Threads on which calls wait for workers, so that gRPC's own never do.

#ifndef HEADWISE_SERVER_LEASES_TASK_POOL_H_
#define HEADWISE_SERVER_LEASES_TASK_POOL_H_

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace headwise {

// Thread-safe.
class TaskPool {
 public:
  explicit TaskPool(int num_threads);
  // Runs what is queued.
  ~TaskPool();

  // ResourceExhausted, and the task is not run, if kMaxQueued wait.
  absl::Status Submit(std::function<void()> task);

  static constexpr size_t kMaxQueued = 256;

 private:
  void Loop();

  absl::Mutex mutex_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_LEASES_TASK_POOL_H_
