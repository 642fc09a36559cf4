#include "worker/sessions/session_node.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace headwise {

int64_t DefaultSessionBytes() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  std::string unit;
  int64_t kib = 0;
  int64_t available = 0;
  while (file >> name >> kib >> unit) {
    if (name == "MemAvailable:") available = kib * 1024;
  }
  return std::max<int64_t>(available / 4, int64_t{64} << 20);
}

SessionNode::SessionNode(const SessionNodeOptions& options, const Clock& clock)
    : team_(options.num_threads, {}),
      store_(options.store, KernelsFor(options.isa), team_, clock),
      thread_([this] { Loop(); }) {}

SessionNode::~SessionNode() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

absl::Status SessionNode::Submit(std::function<void(SessionStore&)> call) {
  absl::MutexLock lock(&mutex_);
  if (queue_.size() >= kMaxQueuedCalls) {
    return absl::ResourceExhaustedError(
        absl::StrCat(queue_.size(), " calls wait at this worker"));
  }
  queue_.push_back(std::move(call));
  return absl::OkStatus();
}

void SessionNode::Loop() {
  const auto has_work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !queue_.empty();
  };
  while (true) {
    std::function<void(SessionStore&)> call;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&has_work));
      if (queue_.empty()) return;
      call = std::move(queue_.front());
      queue_.pop_front();
    }
    call(store_);
  }
}

}  // namespace headwise
