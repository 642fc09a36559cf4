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
#include "worker/gpu_executor/product_list.h"

namespace headwise {

// `in` times the weights, for `num_rows` rows; what becomes of the result is
// the caller's.
MatMulArgs ProductOf(const PackedMatrix& weights, const DeviceRows& in,
                     int64_t num_rows);

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
  void ProjectHeads(int64_t layer);
  void FinishHeads(int64_t layer);
  // `factors` as BatchTables has them; nullptr: nothing is to be done.
  void ScaleHeads(const float* factors, bool clears, int64_t layer, float* x);
  void StoreKeyValues(int64_t layer);
  void Attend(int64_t layer);
  void ProjectOutput(int64_t layer);

  // gpu_lane_products.cc
  struct LayerProducts {
    ProductList heads, outputs, gate_ups, downs;
    int64_t num_hidden = 0;  // elements of the MLP's hidden rows
  };
  void ListProducts();
  void ListAttention(const DeviceLayer& weights, int* flag,
                     ProductLister* lister, LayerProducts* out) const;
  void ListMlp(const DeviceLayer& weights, int* flag, ProductLister* lister,
               LayerProducts* out) const;
  MatMulArgs SumOf(const PackedMatrix& weights, const DeviceRows& in,
                   int* flag) const;
  // Where products tell that a value was out of range.
  int* FlagOf(int64_t layer, GpuBlock block) const;
  bool flags_travel() const { return group_->world_size() > 1; }

  void RunMlp(int64_t layer);
  void Quantize(const DeviceRows& rows, int64_t count);

  // The one behind the sums: waits for the device.
  absl::StatusOr<int64_t> ReadFlag();

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
  std::vector<LayerProducts> products_;  // [layers], for listed_rows_ rows
  int64_t listed_rows_ = 0;
  bool listed_flags_ = false;  // flags_travel()
  Group* group_ = nullptr;
  std::vector<int64_t> host_sums_;  // as the group takes them
  bool is_started_ = false;         // they are with the group
  std::vector<float> embeddings_;   // [rows][model_dim]
  CollectiveUse collective_use_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_GPU_EXECUTOR_GPU_LANE_H_
