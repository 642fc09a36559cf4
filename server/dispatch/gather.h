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
      : clock_(clock),
        answers_(num_ranks),
        progress_(num_ranks, 0.0),
        heard_(num_ranks, clock.Now()) {}

  void Set(size_t rank, Answer answer) {
    absl::MutexLock lock(&mutex_);
    if (answers_[rank].has_value()) return;
    answers_[rank] = std::move(answer);
    ++num_answers_;
  }

  void SetProgress(size_t rank, double value) {
    absl::MutexLock lock(&mutex_);
    heard_[rank] = clock_.Now();
    progress_[rank] = std::max(progress_[rank], value);
  }

  // Returns when all have answered, one that has not was not heard for `stall`,
  // `cancelled` (looked at every 50 ms), or 50 to 100 ms after `decides`, if
  // any, says of a rank that the others need not be waited for. By rank;
  // nothing for those that have not answered. `tell`, if any, hears the mean
  // progress whenever it has grown. Both are called by this thread without a
  // lock, so never after the wait.
  std::vector<std::optional<Answer>> Wait(
      absl::Duration stall, const std::atomic<bool>& cancelled,
      const std::function<void(double)>& tell = nullptr,
      const std::function<bool(size_t, const std::optional<Answer>&)>& decides =
          nullptr) {
    double told = 0.0;
    bool is_decided = false;
    while (true) {
      const Look look = AwaitAll(absl::Milliseconds(50));
      BeatThreadPulse();
      if (tell && look.mean_progress > told) tell(told = look.mean_progress);
      if (look.all || cancelled || is_decided || !Silent(stall).empty()) break;
      if (!decides) continue;
      const std::vector<std::optional<Answer>> answers = Answers();
      for (size_t rank = 0; rank < answers.size(); ++rank) {
        is_decided = is_decided || decides(rank, answers[rank]);
      }
    }
    return Answers();
  }

  // Ranks that have neither answered nor told progress for `stall`.
  std::vector<size_t> Silent(absl::Duration stall) {
    const absl::Time now = clock_.Now();
    std::vector<size_t> silent;
    absl::MutexLock lock(&mutex_);
    for (size_t rank = 0; rank < answers_.size(); ++rank) {
      if (answers_[rank].has_value() || now - heard_[rank] <= stall) continue;
      silent.push_back(rank);
    }
    return silent;
  }

 private:
  struct Look {
    bool all = false;  // have answered
    double mean_progress = 0.0;
  };

  Look AwaitAll(absl::Duration timeout) {
    absl::MutexLock lock(&mutex_);
    const auto all = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return num_answers_ == answers_.size();
    };
    Look look;
    look.all = mutex_.AwaitWithTimeout(absl::Condition(&all), timeout);
    const double sum = std::accumulate(progress_.begin(), progress_.end(), 0.0);
    if (!progress_.empty()) look.mean_progress = sum / progress_.size();
    return look;
  }

  std::vector<std::optional<Answer>> Answers() {
    absl::MutexLock lock(&mutex_);
    return answers_;
  }

  const Clock& clock_;
  absl::Mutex mutex_;
  std::vector<std::optional<Answer>> answers_ ABSL_GUARDED_BY(mutex_);
  std::vector<double> progress_ ABSL_GUARDED_BY(mutex_);
  std::vector<absl::Time> heard_ ABSL_GUARDED_BY(mutex_);
  size_t num_answers_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_GATHER_H_
