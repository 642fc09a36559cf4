// What is known of a job that runs here, beyond the books.

#ifndef HEADWISE_SERVER_SELECTION_JOB_LIVE_H_
#define HEADWISE_SERVER_SELECTION_JOB_LIVE_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace headwise {

struct JobLive {
  double tokens_per_second = 0.0;
  int64_t num_open_tokens = 0;  // rows of shards that are not committed
  std::string note;             // JobStatus
};

// Thread-safe.
class JobLiveBoard {
 public:
  JobLive Get() const {
    absl::MutexLock lock(&mutex_);
    return live_;
  }
  void SetPace(double tokens_per_second, int64_t num_open_tokens) {
    absl::MutexLock lock(&mutex_);
    live_.tokens_per_second = tokens_per_second;
    live_.num_open_tokens = num_open_tokens;
  }
  void SetNote(std::string note) {
    absl::MutexLock lock(&mutex_);
    live_.note = std::move(note);
  }

 private:
  mutable absl::Mutex mutex_;
  JobLive live_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_JOB_LIVE_H_
