// Where scorers put their answers, for the one thread that waits for them.

#ifndef HEADWISE_SERVER_SELECTION_ANSWER_INBOX_H_
#define HEADWISE_SERVER_SELECTION_ANSWER_INBOX_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/selection/document.h"

namespace headwise {

struct ScorerAnswer {
  int64_t ticket = 0;  // of the document
  absl::StatusOr<DocumentLoss> loss;
};

// Holds at most one answer for each document that is under way. Thread-safe.
class AnswerInbox {
 public:
  void Put(ScorerAnswer answer) {
    absl::MutexLock lock(&mutex_);
    answers_.push_back(std::move(answer));
  }

  // Ends the wait that goes on, or the next one.
  void Wake() {
    absl::MutexLock lock(&mutex_);
    is_woken_ = true;
  }

  // Returns when there is an answer, after Wake, or when the time is over.
  void Wait(absl::Duration timeout) {
    absl::MutexLock lock(&mutex_);
    mutex_.AwaitWithTimeout(absl::Condition(this, &AnswerInbox::HasNewsLocked),
                            timeout);
    is_woken_ = false;
  }

  std::vector<ScorerAnswer> Take() {
    absl::MutexLock lock(&mutex_);
    return std::exchange(answers_, {});
  }

 private:
  bool HasNewsLocked() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return is_woken_ || !answers_.empty();
  }

  absl::Mutex mutex_;
  std::vector<ScorerAnswer> answers_ ABSL_GUARDED_BY(mutex_);
  bool is_woken_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_ANSWER_INBOX_H_
