// The batches of a step.

#ifndef HEADWISE_WORKER_EXECUTOR_STEP_BATCHES_H_
#define HEADWISE_WORKER_EXECUTOR_STEP_BATCHES_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "worker/backends/cpu/aligned_buffer.h"
#include "worker/executor/layer_runner.h"
#include "worker/executor/row_batch.h"
#include "worker/executor/sequences.h"
#include "worker/step/step.h"

namespace headwise {

// Rows of all slices in order, kMaxBatchRows at a time. Takes the slices'
// tokens into `sequences`.
std::vector<RowBatch> CutIntoBatches(const Step& step, Sequences* sequences);

// Rows that run a second time, under the contrast plans of their slices.
struct ContrastBatch {
  RowBatch batch;
  AlignedBuffer<float> entry;  // what `batch` enters its first layer with
};

// At most one for each of `batches` and each layer in which some contrast
// begins; by layer, then in the order of `batches`. Extends the contrasts'
// sequences, and makes `pieces`, of each batch, capture what they enter with.
std::vector<ContrastBatch> MakeContrasts(absl::Span<const RowBatch> batches,
                                         int64_t model_dim,
                                         Sequences* sequences,
                                         absl::Span<PieceStates> pieces);

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_STEP_BATCHES_H_
