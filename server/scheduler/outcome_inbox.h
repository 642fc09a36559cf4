// Where the dispatcher's threads leave outcomes for the engine's thread.

#ifndef HEADWISE_SERVER_SCHEDULER_OUTCOME_INBOX_H_
#define HEADWISE_SERVER_SCHEDULER_OUTCOME_INBOX_H_

#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/scheduler/dispatcher.h"
#include "server/scheduler/scheduler.h"

namespace headwise {

// Thread-safe. Shared between the engine and the `done` of every step, so that
// the last `done` may still be returning when the engine has gone. Holds at
// most kMaxStepsInFlight outcomes, since no more steps are unanswered.
class OutcomeInbox {
 public:
  struct Arrival {
    StepTicket ticket;
    absl::StatusOr<StepResult> outcome;
  };

  void Put(Arrival arrival);
  // Something else than an outcome wants the engine's attention.
  void Wake();
  // All arrivals since the last call.
  std::vector<Arrival> Take();
  // Returns after a Put or Wake since the last Await, or after `timeout`.
  void Await(absl::Duration timeout);

 private:
  absl::Mutex mutex_;
  std::vector<Arrival> arrivals_ ABSL_GUARDED_BY(mutex_);
  bool has_news_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_OUTCOME_INBOX_H_
