// Waits for one answer from each rank.

#ifndef HEADWISE_SERVER_DISPATCH_GATHER_H_
#define HEADWISE_SERVER_DISPATCH_GATHER_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/pulse.h"

namespace headwise {

// Thread-safe. Shared with the callbacks that answer, which may come after the
// wait was given up.
template <typename Answer>
class Gather {
 public:
  // `clock` measures silence; it must outlive the wait.
  Gather(size_t num_ranks, const Clock& clock)
      : clock_(clock), answers_(num_ranks), progress_(num_ranks, 0.0) {}

  void Set(size_t rank, Answer answer) {
    absl::MutexLock lock(&mutex_);
    if (answers_[rank].has_value()) return;
    answers_[rank] = std::move(answer);
    ++num_answers_;
    ++num_events_;
  }

  void SetProgress(size_t rank, double value) {
    absl::MutexLock lock(&mutex_);
    ++num_events_;
    progress_[rank] = std::max(progress_[rank], value);
  }

  // Returns when all have answered, nothing was heard for `stall`, or
  // `cancelled` (looked at every 50 ms). By rank; nothing for the silent.
  // `tell`, if any, hears the mean progress whenever it has grown; it is called
  // by this thread, so never after the wait.
  std::vector<std::optional<Answer>> Wait(
      absl::Duration stall, const std::atomic<bool>& cancelled,
      const std::function<void(double)>& tell = nullptr) {
    size_t num_seen = 0;
    double told = 0.0;
    absl::Time heard = clock_.Now();
    while (true) {
      const Look look = AwaitAll(absl::Milliseconds(50));
      BeatThreadPulse();
      if (tell && look.mean_progress > told) tell(told = look.mean_progress);
      if (look.all) break;
      const absl::Time now = clock_.Now();
      if (look.num_events != num_seen) heard = now;
      num_seen = look.num_events;
      if (cancelled || now - heard > stall) break;
    }
    absl::MutexLock lock(&mutex_);
    return answers_;
  }

 private:
  struct Look {
    bool all = false;  // have answered
    size_t num_events = 0;
    double mean_progress = 0.0;
  };

  Look AwaitAll(absl::Duration timeout) {
    absl::MutexLock lock(&mutex_);
    const auto all = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return num_answers_ == answers_.size();
    };
    Look look;
    look.all = mutex_.AwaitWithTimeout(absl::Condition(&all), timeout);
    look.num_events = num_events_;
    const double sum = std::accumulate(progress_.begin(), progress_.end(), 0.0);
    if (!progress_.empty()) look.mean_progress = sum / progress_.size();
    return look;
  }

  const Clock& clock_;
  absl::Mutex mutex_;
  std::vector<std::optional<Answer>> answers_ ABSL_GUARDED_BY(mutex_);
  std::vector<double> progress_ ABSL_GUARDED_BY(mutex_);
  size_t num_answers_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t num_events_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_GATHER_H_
