// Which positions the rows of a batch see in each unit, and in what order the
// parts of that are merged; integers only.

#ifndef HEADWISE_WORKER_GPU_EXECUTOR_UNIT_VIEWS_H_
#define HEADWISE_WORKER_GPU_EXECUTOR_UNIT_VIEWS_H_

#include <cstdint>
#include <vector>

#include "worker/backends/cuda/step_kernels.h"
#include "worker/executor/layer_runner.h"
#include "worker/executor/row_batch.h"

namespace headwise {

// Pieces of one policy share a view. Units are those of the rank, in order.
struct UnitViews {
  std::vector<cuda::UnitView> views;
  std::vector<int64_t> view_of;    // [units][pieces] index in `views`
  std::vector<int64_t> bounds;     // what views refer to
  std::vector<int64_t> num_parts;  // [units] the most of any piece
};

// Whether a unit's policy is one of those that MakeUnitViews knows.
bool HasView(const UnitPolicy& policy);

// The parts and their order are those of LayerRunner and PolicyAttention.
// Requires HasView of every unit.
UnitViews MakeUnitViews(const RowBatch& batch, const PieceStates& pieces,
                        int64_t heads_per_kv_head);

}  // namespace headwise

#endif  // HEADWISE_WORKER_GPU_EXECUTOR_UNIT_VIEWS_H_
