// One worker as the coordinator sees it, whatever lies between them.

#ifndef HEADWISE_SERVER_DISPATCH_WORKER_LINK_H_
#define HEADWISE_SERVER_DISPATCH_WORKER_LINK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/placement/placement.h"
#include "server/scheduler/dispatcher.h"
#include "worker/step/step.h"
#include "worker/step/worker_config.h"

namespace headwise {

// What one rank holds of a placement. Requires 0 <= rank <
// placement.world_size.
Shard ShardOfRank(const Placement& placement, int rank);

// Hears the answers of one rank. Calls come from any thread and must not block.
// Some may still come after CloseSteps, and on_answer after on_broken: whoever
// listens knows by the membership epoch what is of a group that stands.
struct StepListener {
  // In the order of SendStep, one at a time, never from within SendStep or
  // CloseSteps. An answer that can't be read has the status DataLoss.
  std::function<void(StepAnswer)> on_answer;
  // The steps can't go on: the worker, its process or the wire is gone. Perhaps
  // from within OpenSteps or SendStep, and more than once.
  std::function<void(absl::Status)> on_broken;
};

// Thread-safe. Every `done` is called exactly once, also when the worker dies,
// within the call's deadline; perhaps from within the call.
class WorkerLink {
 public:
  virtual ~WorkerLink() = default;

  // Is the worker alive and able to answer? OK or an error within `timeout`.
  virtual void Probe(absl::Duration timeout,
                     std::function<void(absl::Status)> done) = 0;

  // `progress` hears values from 0 to 1 before `done`.
  virtual void Prepare(
      WorkerConfig config, absl::Duration timeout,
      std::function<void(double)> progress,
      std::function<void(absl::StatusOr<PreparedShard>)> done) = 0;

  virtual void Join(uint64_t membership_epoch,
                    std::vector<std::string> endpoints, absl::Duration timeout,
                    std::function<void(absl::Status)> done) = 0;

  // Opens the stream of steps of a joined group; closes an older one.
  virtual void OpenSteps(uint64_t membership_epoch, StepListener listener) = 0;

  // Dropped if no stream of this epoch is open, for on_broken or the one who
  // closed it has told of that. At most kMaxStepsInFlight unanswered.
  virtual void SendStep(uint64_t membership_epoch,
                        std::shared_ptr<const Step> step) = 0;

  // Ends the stream of steps, which makes the worker abort its group. No effect
  // if none is open.
  virtual void CloseSteps() = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_WORKER_LINK_H_
