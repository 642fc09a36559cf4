#include "server/leases/task_pool.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace headwise {

TaskPool::TaskPool(int num_threads) {
  for (int i = 0; i < num_threads; ++i) {
    threads_.emplace_back([this] { Loop(); });
  }
}

TaskPool::~TaskPool() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

absl::Status TaskPool::Submit(std::function<void()> task) {
  absl::MutexLock lock(&mutex_);
  if (queue_.size() >= kMaxQueued) {
    return absl::ResourceExhaustedError(
        absl::StrCat(queue_.size(), " calls wait"));
  }
  queue_.push_back(std::move(task));
  return absl::OkStatus();
}

void TaskPool::Loop() {
  const auto has_work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !queue_.empty();
  };
  while (true) {
    std::function<void()> task;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&has_work));
      if (queue_.empty()) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task();
  }
}

}  // namespace headwise
