// A coordinator without its wires: book, manager, dispatcher and engine joined.

#ifndef HEADWISE_SERVER_DISPATCH_COORDINATOR_H_
#define HEADWISE_SERVER_DISPATCH_COORDINATOR_H_

#include <climits>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "model/model.h"
#include "server/dispatch/cluster_dispatcher.h"
#include "server/dispatch/cluster_manager.h"
#include "server/dispatch/speed_keeper.h"
#include "server/membership/membership.h"
#include "server/placement/planner.h"
#include "server/scheduler/engine.h"

namespace headwise {

struct CoordinatorOptions {
  std::string model_path;  // as the workers see it
  KvType kv_type = KvType::kFp16;
  // Of all workers together; 0: DefaultKvBytes().
  int64_t kv_capacity_bytes = 0;
  GroupChoice group = GroupChoice::kAuto;
  bool fast_reduction = false;
  bool check_model_sha256 = false;  // reads the whole file here and there
  size_t min_workers = 1;
  MembershipOptions membership;
  // Limits of the scheduler; capacity and context are filled in from the model.
  EngineOptions engine;
  absl::Duration step_timeout = absl::Seconds(3);
  absl::Duration grow_patience = absl::Seconds(10);  // as of ClusterManager
  // Ranks that every unit's context is cut over; 1: none is (CutContexts).
  int ranks_per_context = 1;
  absl::Duration group_timeout = absl::Milliseconds(2500);

  // Asked before workers are told to do anything; empty: always.
  std::function<bool()> may_command;

  // Hooks; called without a lock held, must not block.
  std::function<void(const StepSample&)> on_sample;
  std::function<void(const GroupChange&)> on_change;
  std::function<void(double)> on_progress;  // of loading, 0 to 1
  std::function<void(const std::string&)> log;
};

// A quarter of the memory that is available now, at least 64 MiB and at most
// 16 GiB: the rest is for weights, other processes and the page cache.
int64_t DefaultKvBytes();

// Thread-safe. Members of the order: who uses `membership` (registry, pollers)
// must end before the coordinator does.
class Coordinator {
 public:
  // `make_link` gives a link to a member of the book. InvalidArgument for
  // sizes out of range. Starts to form a group as soon as workers are
  // in the book.
  static absl::StatusOr<std::unique_ptr<Coordinator>> Create(
      const CoordinatorOptions& options, std::shared_ptr<const Model> model,
      std::function<std::shared_ptr<WorkerLink>(const MemberInfo&)> make_link);
  ~Coordinator();

  const Model& model() const { return *model_; }
  const ModelShape& shape() const { return shape_; }
  Membership& membership() { return membership_; }
  Engine& engine() { return *engine_; }
  ClusterStatus status() const { return manager_->status(); }

  // Of one of several. It begins as if it led; Follow ends all requests with
  // `why`, refuses new ones and all workers, and its group ends. Lead takes
  // them, under epochs from `first_epoch` on. What prompt sessions hold is kept
  // as tokens meanwhile. Not at the same time.
  void Follow(const absl::Status& why);
  void Lead(uint64_t first_epoch);
  absl::Status WaitUntilServing(absl::Duration timeout,
                                int max_failures = INT_MAX) const {
    return manager_->WaitUntilServing(timeout, max_failures);
  }

 private:
  Coordinator(const CoordinatorOptions& options,
              std::shared_ptr<const Model> model, const ModelShape& shape);

  const std::shared_ptr<const Model> model_;
  const ModelShape shape_;
  // Destroyed in reverse: the manager stops forming groups, the engine ends its
  // requests, the dispatcher its steps.
  Membership membership_;
  SpeedKeeper speeds_;
  ClusterDispatcher dispatcher_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<ClusterManager> manager_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_COORDINATOR_H_
