// Takes a batch of rows through the layers of one rank's shard on a device.

#ifndef HEADWISE_WORKER_GPU_EXECUTOR_GPU_LANE_H_
#define HEADWISE_WORKER_GPU_EXECUTOR_GPU_LANE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/model.h"
#include "worker/collectives/group.h"
#include "worker/executor/layer_runner.h"
#include "worker/executor/row_batch.h"
#include "worker/gpu_executor/batch_tables.h"
#include "worker/gpu_executor/device_queue.h"
#include "worker/gpu_executor/device_weights.h"
#include "worker/gpu_executor/lane_buffers.h"

namespace headwise {

// One batch on its way: the arithmetic, in its order, of LayerRunner for units
// that have a view (unit_views.h). Calls only enqueue, but for those that say
// so; an error of the device stays in the queue.
class GpuLane {
 public:
  // Everything outlives the lane.
  struct Context {
    const Model* model = nullptr;
    const DeviceWeights* weights = nullptr;
    DeviceQueue* queue = nullptr;
  };

  GpuLane(const Context& context, const LaneShape& shape);
  // Bytes of the device's memory, beside BatchTables'.
  static int64_t BytesOf(const LaneShape& shape);
  // Before the first batch. Errors are the device's.
  absl::Status Reserve(int64_t num_table_blocks);

  // Rows of the batch as they enter its first layer; all outlive its way.
  void SetBatch(const RowBatch& batch, const PieceStates& pieces, Group* group);
  // Rows that are wanted as they enter the layer (the number of layers: as they
  // leave the last one), where `pieces` say so: waits.
  void CaptureRows(int64_t layer);
  void RunBlock(int64_t layer, GpuBlock block);

  // Hands this rank's sums to the group, once the device has them: waits.
  absl::Status StartSums();
  // Adds the sums of all ranks to the residual stream: waits, in a group of
  // several. OutOfRange, then on every rank, as in a LayerRunner.
  absl::Status FinishSums(int64_t layer);
  // Takes the sums that are with the group back. For errors of other lanes.
  void CloseSums();
  // After the last layer: OutOfRange if a value was out of range and no
  // FinishSums has told. Waits.
  absl::Status CheckFlags();

  const float* residual() const { return at_.residual; }  // [rows][model_dim]
  int64_t num_rows() const { return batch_->num_rows; }
  CollectiveUse& collective_use() { return collective_use_; }

 private:
  void EnterRows();
  void NormRows(const float* weight);

  // gpu_lane_attention.cc
  void RunAttention(int64_t layer);
  void ProjectHeads(const DeviceLayer& layer);
  void FinishHeads(int64_t layer);
  // `factors` as BatchTables has them; nullptr: nothing is to be done.
  void ScaleHeads(const float* factors, bool clears, int64_t layer, float* x);
  void StoreKeyValues(int64_t layer);
  void Attend(int64_t layer);
  void ProjectOutput(const DeviceLayer& layer);

  void RunMlp(int64_t layer);
  void Multiply(const PackedMatrix& weights, const DeviceRows& in, float* out,
                int64_t out_stride);
  void MultiplyAndAdd(const PackedMatrix& weights, const DeviceRows& in);
  void Quantize(const DeviceRows& rows, int64_t count);

  int64_t num_sums() const { return batch_->num_rows * shape_.model_dim; }
  int64_t num_units(int64_t layer) const {
    return static_cast<int64_t>(context_.weights->layers()[layer].units.size());
  }

  const Context context_;
  const Hyperparameters& hyper_;
  const LaneShape shape_;
  const double rope_magnitude_;
  const float softmax_scale_;
  DeviceQueue& queue_;
  BatchTables tables_;
  DeviceMemory memory_;

  LaneBuffers at_;  // in memory_

  // Of the present batch.
  const RowBatch* batch_ = nullptr;
  const PieceStates* pieces_ = nullptr;
  Group* group_ = nullptr;
  int* flag_ = nullptr;             // where products tell that they failed
  std::vector<int64_t> host_sums_;  // as the group takes them
  bool is_started_ = false;         // they are with the group
  std::vector<float> embeddings_;   // [rows][model_dim]
  CollectiveUse collective_use_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_GPU_EXECUTOR_GPU_LANE_H_
