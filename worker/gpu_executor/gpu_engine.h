// A device as what runs a shard's layers.

#ifndef HEADWISE_WORKER_GPU_EXECUTOR_GPU_ENGINE_H_
#define HEADWISE_WORKER_GPU_EXECUTOR_GPU_ENGINE_H_

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "model/model.h"
#include "worker/executor/block_store.h"
#include "worker/executor/step_engine.h"
#include "worker/gpu_executor/device_queue.h"
#include "worker/gpu_executor/device_weights.h"
#include "worker/gpu_executor/gpu_lane.h"

namespace headwise {

struct GpuEngineOptions {
  LaneShape lane;
  int64_t num_vocab_tiles = 0;  // of this rank
  int64_t kv_bytes = 0;         // of all KV blocks, > 0
};

// Also the memory of its KV blocks. The device is used by one engine at a time,
// and outlives it. After a call of the device has failed every step is
// Unavailable and names that call.
class GpuEngine final : public StepEngine, public BlockMemory {
 public:
  // Of the device's memory, without weights and KV blocks.
  static int64_t BytesBeside(const GpuEngineOptions& options);

  // Takes all the memory that it will need, but for tables of contexts that
  // share more blocks than there are. Errors are the device's.
  static absl::StatusOr<std::unique_ptr<GpuEngine>> Create(
      const Model& model, const ShardWeights& weights,
      const GpuEngineOptions& options, cuda::Device& device);

  // Unimplemented for probes, and for plans with policies that have no view
  // (unit_views.h), calibrated heads or KV types of their own.
  absl::Status Check(const Step& step) override;
  void PreparePlan(const HeadPlan&) override {}
  absl::Status RunLayers(absl::Span<const RowBatch* const> batches,
                         absl::Span<const PieceStates> pieces,
                         Group* group) override;
  absl::Status CopyResidual(int64_t lane, int64_t first_row, int64_t num_rows,
                            float* out) override;
  absl::Status StartLogits(int64_t lane,
                           absl::Span<const int64_t> rows) override;
  void PrepareLogits(int) override {}
  const float* TileLogits(int, int64_t tile) override;
  CollectiveUse& collective_use(int64_t lane) override {
    return lanes_[lane].collective_use();
  }
  absl::Status CheckWeights(int64_t max_bytes) override {
    return weights_->CheckWeights(max_bytes);
  }
  int64_t weight_bytes() const override { return weights_->bytes(); }
  int64_t loaded_weight_bytes() const override {
    return weights_->loaded_bytes();
  }

  // BlockMemory
  uint8_t* data() override { return blocks_.data(); }
  void Copy(uint8_t* to, const uint8_t* from, int64_t num_bytes) override {
    queue_.Copy(to, from, num_bytes);
  }

 private:
  // The vocabulary's rows, for at most kMaxBatchRows of them.
  struct LogitsBuffers {
    float* residual = nullptr;  // [rows][model_dim]
    DeviceRows normed;          // [rows][model_dim]
    float* logits = nullptr;    // [tiles][rows][kVocabTileWidth]
    ProductRoom products;
    static LogitsBuffers Take(const GpuEngineOptions& options, Carver* carver);
  };

  GpuEngine(const Model& model, const GpuEngineOptions& options,
            cuda::Device& device);
  absl::Status Reserve(const ShardWeights& weights);
  absl::Status CheckPlan(const NumberedPlan& plan) const;
  // The turns of the first `count` lanes.
  absl::Status RunTurns(int64_t count, int64_t first_layer);

  const Model& model_;
  const Hyperparameters& hyper_;
  const GpuEngineOptions options_;
  DeviceQueue queue_;
  std::unique_ptr<DeviceWeights> weights_;
  DeviceMemory blocks_;
  DeviceMemory logits_memory_;
  LogitsBuffers logits_;  // in logits_memory_
  std::vector<GpuLane> lanes_;
  std::vector<float> host_logits_;  // [tiles][rows][kVocabTileWidth]
  int64_t num_logits_rows_ = 0;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_GPU_EXECUTOR_GPU_ENGINE_H_
