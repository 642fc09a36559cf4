// What takes the rows of a step through a shard's layers: the threads of a CPU,
// or a device.

#ifndef HEADWISE_WORKER_EXECUTOR_STEP_ENGINE_H_
#define HEADWISE_WORKER_EXECUTOR_STEP_ENGINE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "model/head_plan/head_plan.h"
#include "worker/collectives/group.h"
#include "worker/executor/layer_runner.h"
#include "worker/executor/row_batch.h"
#include "worker/step/step.h"

namespace headwise {

// Owns the shard's packed weights. Up to kMaxLanes batches go through the
// layers at once, each on a lane of its own. Calls come from one thread, but
// for those of a member of the executor's team.
class StepEngine {
 public:
  static constexpr int64_t kMaxLanes = 2;

  virtual ~StepEngine() = default;

  // Of a step that is about to run: Unimplemented, naming it, for what this
  // engine has not, and the error that made it unusable. Changes nothing.
  virtual absl::Status Check(const Step& step) = 0;
  // Before the first step of a sequence under such a plan.
  virtual void PreparePlan(const HeadPlan& plan) = 0;

  // Takes the batches, which have one first layer, through the layers from
  // there on: batch i on lane i. Sums over ranks are started and finished as
  // layer_turns.cc has it, so that ranks of every engine meet in them.
  // `pieces[i]` are the states of the pieces of batch i.
  //
  // OutOfRange, with the layer, for a value that is not finite or beyond the
  // range of the exact sum: every rank then returns it, and the group is as
  // before. Other errors are the group's or the engine's, which is not usable
  // any more.
  virtual absl::Status RunLayers(absl::Span<const RowBatch* const> batches,
                                 absl::Span<const PieceStates> pieces,
                                 Group* group) = 0;

  // Of the lane's batch after RunLayers: rows [first_row, first_row + num_rows)
  // of the residual stream, to `out` [num_rows][model_dim].
  virtual absl::Status CopyResidual(int64_t lane, int64_t first_row,
                                    int64_t num_rows, float* out) = 0;

  // The vocabulary, of `rows` of the lane's batch: StartLogits, then
  // PrepareLogits by every member of the team, and once all have returned,
  // TileLogits of each of the rank's tiles by any member.
  virtual absl::Status StartLogits(int64_t lane,
                                   absl::Span<const int64_t> rows) = 0;
  virtual void PrepareLogits(int member) = 0;
  // Logits of the rank's tile number `tile`, [rows][kVocabTileWidth]; until the
  // member's next call.
  virtual const float* TileLogits(int member, int64_t tile) = 0;

  // What collectives of the lane have cost; may be charged and reset.
  virtual CollectiveUse& collective_use(int64_t lane) = 0;

  // As Executor has them.
  virtual absl::Status CheckWeights(int64_t max_bytes) = 0;
  virtual int64_t weight_bytes() const = 0;
  virtual int64_t loaded_weight_bytes() const = 0;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_STEP_ENGINE_H_
