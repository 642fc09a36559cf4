// Waits for one answer from each rank.

#ifndef HEADWISE_SERVER_DISPATCH_GATHER_H_
#define HEADWISE_SERVER_DISPATCH_GATHER_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace headwise {

// Thread-safe. Shared with the callbacks that answer, which may come after the
// wait was given up.
template <typename Answer>
class Gather {
 public:
  explicit Gather(size_t num_ranks)
      : answers_(num_ranks), progress_(num_ranks, 0.0) {}

  void Set(size_t rank, Answer answer) {
    absl::MutexLock lock(&mutex_);
    if (answers_[rank].has_value()) return;
    answers_[rank] = std::move(answer);
    ++num_answers_;
    ++num_events_;
  }

  // Returns the mean over ranks.
  double SetProgress(size_t rank, double value) {
    absl::MutexLock lock(&mutex_);
    ++num_events_;
    progress_[rank] = std::max(progress_[rank], value);
    double sum = 0.0;
    for (const double progress : progress_) sum += progress;
    return sum / static_cast<double>(progress_.size());
  }

  // Returns when all have answered, nothing was heard for `stall`, or
  // `cancelled` (looked at every 50 ms). By rank; nothing for the silent.
  std::vector<std::optional<Answer>> Wait(absl::Duration stall,
                                          const std::atomic<bool>& cancelled) {
    absl::MutexLock lock(&mutex_);
    size_t num_seen = num_events_;
    absl::Time heard = absl::Now();
    const auto all = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return num_answers_ == answers_.size();
    };
    while (!mutex_.AwaitWithTimeout(absl::Condition(&all),
                                    absl::Milliseconds(50))) {
      if (num_events_ != num_seen) {
        num_seen = num_events_;
        heard = absl::Now();
      }
      if (cancelled || absl::Now() - heard > stall) break;
    }
    return answers_;
  }

 private:
  absl::Mutex mutex_;
  std::vector<std::optional<Answer>> answers_ ABSL_GUARDED_BY(mutex_);
  std::vector<double> progress_ ABSL_GUARDED_BY(mutex_);
  size_t num_answers_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t num_events_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_GATHER_H_
