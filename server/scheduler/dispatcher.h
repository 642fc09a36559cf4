// Where the engine sends its steps.

#ifndef HEADWISE_SERVER_SCHEDULER_DISPATCHER_H_
#define HEADWISE_SERVER_SCHEDULER_DISPATCHER_H_

#include <functional>

#include "absl/status/statusor.h"
#include "worker/step/step.h"

namespace headwise {

// Sends steps to all ranks. Implemented by server/dispatch (gRPC) and by the
// embedded cluster (same process).
class Dispatcher {
 public:
  virtual ~Dispatcher() = default;

  // Takes the step; step ids count up by 1 within a membership epoch. Calls
  // `done` exactly once, from any thread, never from within Submit: with the
  // result, measurements left out; with the executor's InvalidArgument or
  // ResourceExhausted (nothing was changed); with OutOfRange if a value was not
  // finite or too large (the step's sequences hold garbage); or with
  // Unavailable when the group is lost, after which every Submit fails so until
  // a new group stands and all sequences are gone from the workers. At most
  // kMaxStepsInFlight steps may be unanswered. Thread-safe.
  virtual void Submit(Step step,
                      std::function<void(absl::StatusOr<StepResult>)> done) = 0;
};

// One step runs, the next one waits at the workers: no bubble between them.
inline constexpr int kMaxStepsInFlight = 2;

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_DISPATCHER_H_
