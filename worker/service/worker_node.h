// A worker without its wire: loads a shard, joins a group, runs steps.

#ifndef HEADWISE_WORKER_SERVICE_WORKER_NODE_H_
#define HEADWISE_WORKER_SERVICE_WORKER_NODE_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "model/model.h"
#include "worker/collectives/group.h"
#include "worker/collectives/group_factory.h"
#include "worker/collectives/nccl_communicator.h"
#include "worker/executor/executor.h"
#include "worker/executor/held_weights.h"
#include "worker/step/step.h"
#include "worker/step/worker_config.h"

namespace headwise {

// Between two signs of progress of a loading.
inline constexpr absl::Duration kLoadAllowance = absl::Minutes(1);

struct WorkerNodeOptions {
  int num_threads = 1;
  Isa isa = Isa::kAvx2;
  std::vector<int> pin_to_cpus;  // one per thread, or empty: not pinned
  int64_t memory_bytes = 0;      // for weights and KV; 0: unlimited
  std::string park_dir;          // of sequences; empty: none can be parked
  // Model paths must lie below it once links are followed; a relative path
  // starts there. Empty: any path.
  std::string model_root;
  SpinMode spin = SpinMode::kAuto;
  std::string bind_address = "127.0.0.1";  // of Gloo's sockets
  absl::Duration join_timeout = absl::Seconds(10);
  // Of groups over NCCL, on this worker's GPU; empty: it can form none.
  NcclOpener open_nccl;
  // One line for operators, from the engine thread; empty: none.
  std::function<void(const std::string&)> log;

  // Injected; the defaults, where empty, are Model::Open, Executor::Create and
  // PendingGroup::Prepare or PrepareNcclGroup.
  std::function<absl::StatusOr<std::shared_ptr<const Model>>(
      const std::string& path)>
      open_model;
  std::function<absl::StatusOr<std::unique_ptr<Executor>>(
      const Model& model, Shard shard, const ExecutorOptions& options,
      std::function<bool(double)> progress)>
      create_executor;
  std::function<absl::StatusOr<std::unique_ptr<PendingGroup>>(
      GroupChoice kind, const GroupSpec& spec)>
      prepare_group;
};

// Thread-safe. Owns one engine thread, which alone touches model, executor and
// group; calls hand it commands through a queue of kMaxCommands.
//
// A call that returns OK will call `done` exactly once, from the engine thread
// and in the order of the calls; on an error `done` is never called. Nothing
// blocks the caller.
class WorkerNode {
 public:
  using PrepareDone = std::function<void(absl::StatusOr<PreparedShard>)>;
  // Told values from 0 to 1; returns whether the shard is still wanted.
  using Progress = std::function<bool(double)>;
  using StepDone = std::function<void(absl::StatusOr<StepResult>)>;

  static constexpr size_t kMaxCommands = 32;
  // Of the engine thread (base/pulse.h).
  static constexpr const char* kEnginePulse = "hw-worker";

  explicit WorkerNode(WorkerNodeOptions options);
  // Aborts the group, ends waiting commands with Cancelled.
  ~WorkerNode();

  // Replaces the configuration: the older group is aborted and older loading
  // ended at once. An equal model path keeps the mapping, and of the older
  // shard what the new one has too, unless its files were replaced; the rest is
  // freed before anything is packed. `progress` may be empty; it is called by
  // the engine thread. ResourceExhausted: queue full.
  //
  // Aborted: a lower epoch than one seen before, or `done` gets it because a
  // higher one came. `done` gets Cancelled if `progress` says so.
  absl::Status Prepare(WorkerConfig config, Progress progress,
                       PrepareDone done);

  // Requires endpoints of all ranks. `done` gets Aborted for another epoch than
  // the prepared one, and Cancelled if `is_wanted`, which may be empty, says
  // when its turn has come that nobody waits for the group.
  absl::Status Join(uint64_t membership_epoch,
                    std::vector<std::string> endpoints,
                    std::function<void(absl::Status)> done,
                    std::function<bool()> is_wanted = nullptr);

  // Claims the stream of steps of the joined group; a group has one. Aborted
  // for another epoch, FailedPrecondition if it is taken or no group has
  // joined.
  absl::Status ClaimSteps(uint64_t membership_epoch);

  // Runs a step after those before it. `done` gets Aborted for another epoch,
  // InvalidArgument or ResourceExhausted if the step changed nothing, or what
  // made the group unusable, which is then aborted: DataLoss, too, if a packed
  // weight is no more what it was. All are looked at once in 1,024 steps, when
  // a value is not finite, and while nothing is to be done.
  absl::Status RunStep(uint64_t membership_epoch, Step step, StepDone done);

  // Makes the group's collectives fail, here and at its peers. No effect if the
  // group of that epoch is not the present one.
  void AbortGroup(uint64_t membership_epoch, const absl::Status& reason);

  // Highest epoch seen by Prepare; 0 before the first.
  uint64_t membership_epoch() const;

  // Bytes of KV in use after the last step; 0 before the first of a group.
  int64_t kv_bytes_used() const { return kv_bytes_used_; }

 private:
  struct Command {
    std::function<void()> run;
    std::function<void(absl::Status)> cancel;
  };

  absl::Status Enqueue(Command command);
  void EngineLoop();

  // On the engine thread.
  absl::StatusOr<PreparedShard> DoPrepare(const WorkerConfig& config,
                                          const Progress& progress);
  // Why a shard of that epoch is not worth loading any more, if it is not.
  absl::Status CheckWanted(uint64_t membership_epoch) const;
  absl::Status LoadShard(const WorkerConfig& config, const Progress& progress);
  absl::Status LoadModel(const WorkerConfig& config, const Progress& progress);
  absl::Status MakeExecutor(const WorkerConfig& config,
                            const Progress& progress);
  absl::Status DoJoin(uint64_t membership_epoch,
                      const std::vector<std::string>& endpoints);
  absl::Status JoinGroup(const std::vector<std::string>& endpoints);
  // Of the group that is being formed.
  void Log(const WorkerConfig& config, absl::string_view news) const;
  absl::StatusOr<StepResult> DoStep(uint64_t membership_epoch,
                                    const Step& step);
  absl::Status CheckWeights(int64_t max_bytes);
  void DropGroup();
  absl::StatusOr<std::string> ResolvePath(const std::string& path) const;

  WorkerNodeOptions options_;

  // Of the engine thread.
  std::shared_ptr<const Model> model_;
  std::string model_path_;
  std::string model_stamp_;  // of model_path_ before it was opened
  HeldWeights held_;         // of model_
  std::optional<WorkerConfig> config_;
  std::unique_ptr<PendingGroup> pending_group_;
  std::unique_ptr<Executor> executor_;
  std::optional<uint64_t> last_step_id_;

  std::atomic<int64_t> kv_bytes_used_ = 0;
  mutable absl::Mutex mutex_;
  uint64_t newest_epoch_ ABSL_GUARDED_BY(mutex_) = 0;
  // The joined group; shared so that Abort can come from any thread while the
  // engine thread replaces it.
  std::shared_ptr<Group> group_ ABSL_GUARDED_BY(mutex_);
  bool steps_claimed_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status group_error_ ABSL_GUARDED_BY(mutex_);  // why it is dead
  std::deque<Command> commands_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread engine_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_WORKER_NODE_H_
