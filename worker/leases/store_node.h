// A store with a thread of its own: calls queue, one runs.

#ifndef HEADWISE_WORKER_LEASES_STORE_NODE_H_
#define HEADWISE_WORKER_LEASES_STORE_NODE_H_

#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/pulse.h"
#include "base/thread_team.h"

namespace headwise {

// Thread-safe.
template <typename Store>
class StoreNode {
 public:
  using Make = std::function<std::unique_ptr<Store>(ThreadTeam& team)>;

  // The store may use the team of `num_threads` in its calls.
  StoreNode(int num_threads, const Make& make)
      : team_(num_threads, {}),
        store_(make(team_)),
        thread_([this] { Loop(); }) {}
  // Runs what is queued.
  ~StoreNode() {
    {
      absl::MutexLock lock(&mutex_);
      stopping_ = true;
    }
    thread_.join();
  }

  // Runs `call` on the node's thread after those that came before.
  // ResourceExhausted, and `call` is not run, if kMaxQueuedCalls wait.
  absl::Status Submit(std::function<void(Store&)> call) {
    absl::MutexLock lock(&mutex_);
    if (queue_.size() >= kMaxQueuedCalls) {
      return absl::ResourceExhaustedError(
          absl::StrCat(queue_.size(), " calls wait at this worker"));
    }
    queue_.push_back(std::move(call));
    return absl::OkStatus();
  }

  static constexpr size_t kMaxQueuedCalls = 1024;
  // Of one call; the node that takes longer is taken for frozen.
  static constexpr absl::Duration kCallAllowance = absl::Minutes(1);

 private:
  void Loop() {
    const auto has_work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return stopping_ || !queue_.empty();
    };
    ThreadPulse pulse("hw-store");
    while (true) {
      pulse.Beat();
      std::function<void(Store&)> call;
      {
        absl::MutexLock lock(&mutex_);
        if (!mutex_.AwaitWithTimeout(absl::Condition(&has_work),
                                     kPulseInterval)) {
          continue;
        }
        if (queue_.empty()) return;
        call = std::move(queue_.front());
        queue_.pop_front();
      }
      pulse.Beat(kCallAllowance);
      call(*store_);
    }
  }

  ThreadTeam team_;
  const std::unique_ptr<Store> store_;
  absl::Mutex mutex_;
  std::deque<std::function<void(Store&)>> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_LEASES_STORE_NODE_H_
