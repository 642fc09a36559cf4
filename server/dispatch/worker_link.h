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
#include "server/scheduler/step_plan.h"

namespace headwise {

// kAuto: shared memory if all workers are on one host, else Gloo.
enum class GroupChoice { kAuto, kInProcess, kSharedMemory, kGloo };

// "auto", "in-process", "shm" or "shared-memory", "gloo".
absl::StatusOr<GroupChoice> ParseGroupChoice(const std::string& text);
const char* GroupChoiceName(GroupChoice choice);

// What one rank holds of a placement.
struct RankShard {
  struct Layer {
    std::vector<int> units;      // KV heads, ascending
    std::vector<int> mlp_tiles;  // ascending
  };
  std::vector<Layer> layers;     // [num_layers]
  std::vector<int> vocab_tiles;  // ascending

  int64_t num_units() const;  // over all layers
  int64_t num_mlp_tiles() const;
};

// Requires 0 <= rank < placement.world_size.
RankShard ShardOfRank(const Placement& placement, int rank);

// First half of forming a group: what a rank is to load.
struct PrepareOrder {
  uint64_t membership_epoch = 0;
  std::string model_path;
  std::string model_sha256;  // hexadecimal; empty: not checked
  int rank = 0;
  int world_size = 0;
  RankShard shard;
  std::vector<int> vocab_tile_rank;  // [num_vocab_tiles], of all ranks
  GroupChoice group = GroupChoice::kInProcess;  // not kAuto
  absl::Duration group_timeout;                 // of one collective
  bool fast_reduction = false;
  std::string kv_type;            // fp32, fp16, bf16, int8
  int64_t kv_capacity_bytes = 0;  // of this rank
  int64_t max_step_tokens = 0;
};

struct PreparedRank {
  std::string endpoint;  // opaque; handed to all ranks by Join
  int64_t weight_bytes = 0;
  int64_t kv_capacity_blocks = 0;  // blocks of one unit each
};

// One rank's answer to one step.
struct RankStepResult {
  uint64_t membership_epoch = 0;
  uint64_t step_id = 0;
  absl::Status status;
  std::vector<SliceOutcome> slices;  // of rank 0 only
  double compute_seconds = 0.0;
  double collective_seconds = 0.0;  // inside collectives: waiting and transfer
  int64_t collective_bytes = 0;
  int64_t num_collectives = 0;
  int64_t kv_blocks_used = 0;
};

// Hears the answers of one rank. Calls come from any thread and must not block.
// Some may still come after CloseSteps, and on_result after on_broken: whoever
// listens knows by the membership epoch what is of a group that stands.
struct StepListener {
  // In the order of SendStep, one at a time, never from within SendStep or
  // CloseSteps. An answer that can't be read has the status DataLoss.
  std::function<void(RankStepResult)> on_result;
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
      PrepareOrder order, absl::Duration timeout,
      std::function<void(double)> progress,
      std::function<void(absl::StatusOr<PreparedRank>)> done) = 0;

  virtual void Join(uint64_t membership_epoch,
                    std::vector<std::string> endpoints, absl::Duration timeout,
                    std::function<void(absl::Status)> done) = 0;

  // Opens the stream of steps of a joined group; closes an older one.
  virtual void OpenSteps(uint64_t membership_epoch, StepListener listener) = 0;

  // Dropped if no stream of this epoch is open, for on_broken or the one who
  // closed it has told of that. At most kMaxStepsInFlight unanswered.
  virtual void SendStep(uint64_t membership_epoch,
                        std::shared_ptr<const StepPlan> plan) = 0;

  // Ends the stream of steps, which makes the worker abort its group. No effect
  // if none is open.
  virtual void CloseSteps() = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_WORKER_LINK_H_
