// The threads of a CPU as what runs a shard's layers.

#ifndef HEADWISE_WORKER_EXECUTOR_CPU_ENGINE_H_
#define HEADWISE_WORKER_EXECUTOR_CPU_ENGINE_H_

#include <array>
#include <cstdint>
#include <vector>

#include "base/thread_team.h"
#include "model/model.h"
#include "worker/executor/executor.h"
#include "worker/executor/quantized_buffer.h"
#include "worker/executor/rotation.h"
#include "worker/executor/shard_weights.h"
#include "worker/executor/step_engine.h"
#include "worker/executor/weight_check.h"

namespace headwise {

class CpuEngine final : public StepEngine {
 public:
  // `model` and `team` outlive it.
  CpuEngine(const Model& model, const ExecutorOptions& options,
            ThreadTeam& team, ShardWeights weights);

  absl::Status Check(const Step&) override { return absl::OkStatus(); }
  void PreparePlan(const HeadPlan& plan) override;
  absl::Status RunLayers(absl::Span<const RowBatch* const> batches,
                         absl::Span<const PieceStates> pieces,
                         Group* group) override;
  absl::Status CopyResidual(int64_t lane, int64_t first_row, int64_t num_rows,
                            float* out) override;
  absl::Status StartLogits(int64_t lane,
                           absl::Span<const int64_t> rows) override;
  void PrepareLogits(int member) override;
  const float* TileLogits(int member, int64_t tile) override;
  CollectiveUse& collective_use(int64_t lane) override {
    return lanes_[lane].collective_use();
  }
  absl::Status CheckWeights(int64_t max_bytes) override {
    return check_.Check(max_bytes);
  }
  int64_t weight_bytes() const override { return weights_.bytes; }
  int64_t loaded_weight_bytes() const override { return weights_.loaded_bytes; }

 private:
  const Hyperparameters& hyper_;
  const Kernels& kernels_;
  ThreadTeam& team_;
  const ShardWeights weights_;
  WeightCheck check_{weights_};
  RotationTable rotations_;
  std::array<LayerRunner, kMaxLanes> lanes_;

  // Of the present StartLogits.
  int64_t logits_lane_ = 0;
  std::vector<int64_t> rows_;
  AlignedBuffer<float> normed_;  // [rows][model_dim]
  QuantizedBuffer normed_q_;
  std::vector<AlignedBuffer<float>> tile_logits_;  // [members][rows][width]
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_CPU_ENGINE_H_
