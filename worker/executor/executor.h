// Runs steps of one rank's shard of a model.

#ifndef HEADWISE_WORKER_EXECUTOR_EXECUTOR_H_
#define HEADWISE_WORKER_EXECUTOR_EXECUTOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/model.h"
#include "worker/backends/cpu/isa.h"
#include "worker/backends/cpu/kernels.h"
#include "worker/cache/kv_book.h"
#include "worker/collectives/group.h"
#include "worker/executor/held_weights.h"
#include "worker/step/step.h"
#include "worker/step/worker_config.h"

namespace headwise {

struct ExecutorOptions {
  int num_threads = 1;  // including the caller of Run
  Isa isa = Isa::kAvx2;
  KvType kv_type = KvType::kFp16;
  ReductionMode reduction = ReductionMode::kExact;
  int64_t kv_capacity_bytes = 0;  // of this rank; allocated as blocks are used
  // For packed weights and KV together, 0: unlimited. What the weights leave
  // bounds the KV.
  int64_t memory_bytes = 0;
  std::vector<int> pin_to_cpus;  // one per thread, or empty: not pinned
  // Folder for files of parked sequences, which go with the executor. Empty:
  // nothing can be parked.
  std::string park_dir;
  // What earlier executors of the same model packed: what the shard has of it
  // is not packed again, the rest of it goes. Null: nothing. Outlives the call,
  // not the executor.
  HeldWeights* held = nullptr;
};

// The largest sum that an executor of such a model starts in its group: what
// GroupOptions::started_sum_bytes should be.
int64_t MaxSumBytes(const Hyperparameters& hyper);

// Within a step the pulse of Run's caller is beaten at each layer of each
// batch, and may be so old (base/pulse.h).
inline constexpr absl::Duration kStepAllowance = absl::Seconds(15);

// Owns the shard's packed weights, its KV cache and its threads. Run is called
// by one thread at a time.
class Executor {
 public:
  // Packs the shard's weights. `model` must outlive the executor; `group` may
  // be set later (SetGroup) but before the first Run. `progress`, if any, is
  // called with values from 0 to 1 by the calling thread; once it returns
  // false, the answer is Cancelled. Unimplemented or InvalidArgument names a
  // tensor that the backend can't serve; ResourceExhausted, before anything is
  // allocated, if memory_bytes has no room for a KV block of every unit.
  static absl::StatusOr<std::unique_ptr<Executor>> Create(
      const Model& model, Shard shard, const ExecutorOptions& options,
      std::function<bool(double)> progress);
  virtual ~Executor() = default;

  virtual void SetGroup(Group* group) = 0;  // not owned

  // Runs one step on this rank; all ranks run the same step. What can't be
  // parked, or taken up again, is told in StepResult::parks and is as it was:
  // FailedPrecondition without a park_dir, ResourceExhausted if disk or KV is
  // full, DataLoss if the file was changed, InvalidArgument for an unknown
  // sequence.
  //
  // InvalidArgument for a slice that contradicts the books (wrong position,
  // unknown sequence, a token outside the vocabulary), on every rank alike;
  // ResourceExhausted if this rank's blocks run out. In both cases nothing but
  // the frees was done. OutOfRange, on every rank alike, if a value was NaN,
  // infinite or beyond the range of the exact sum (names the layer; the fast
  // reduction sees it once it reaches a logit or a hidden state): the step's
  // sequences are spoiled and must be freed, the rank goes on. Any other error
  // is the group's and leaves the rank unusable.
  virtual absl::StatusOr<StepResult> Run(const Step& step) = 0;

  // Whether packed weights are what they were: of `max_bytes` more, in turn.
  // DataLoss names what is not; the answers of the rank are worth nothing then.
  virtual absl::Status CheckWeights(int64_t max_bytes) = 0;

  virtual int64_t weight_bytes() const = 0;
  // Of them, what Create packed anew.
  virtual int64_t loaded_weight_bytes() const = 0;
  // Blocks that kv_capacity_bytes and memory_bytes allow, and those in use,
  // counted over units.
  virtual int64_t kv_capacity_blocks() const = 0;
  virtual int64_t kv_blocks_used() const = 0;
  // In use, summaries included. All three: not while Run does.
  virtual int64_t kv_bytes_used() const = 0;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_EXECUTOR_H_
