// What the cluster tells the metrics: plain structs, so that who calls this
// knows no metrics library.

#ifndef HEADWISE_SERVER_FRONTENDS_STEP_OBSERVER_H_
#define HEADWISE_SERVER_FRONTENDS_STEP_OBSERVER_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/scheduler/engine.h"

namespace headwise {

// One rank's part in one step.
struct WorkerStepSample {
  absl::string_view worker;       // its name
  absl::string_view group;        // kind of its group: "shared-memory"
  double compute_seconds = 0.0;   // outside collectives
  double wait_seconds = 0.0;      // inside: for peers that had not come
  double transfer_seconds = 0.0;  // inside: the rest
  int64_t collective_bytes = 0;   // sent and received by this rank
  int64_t num_collectives = 0;
};

// Thread-safe; calls return at once.
class StepObserver {
 public:
  virtual ~StepObserver() = default;
  virtual void OnWorkerStep(const WorkerStepSample& sample) = 0;
  // A group of that kind was lost; `reason` is not OK.
  virtual void OnGroupLost(absl::string_view group,
                           const absl::Status& reason) = 0;
  // A group serves after one that ended so.
  virtual void OnRebuild(GroupEnd end, const ResumeReport& resumed) = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_STEP_OBSERVER_H_
