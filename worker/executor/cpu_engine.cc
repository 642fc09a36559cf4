#include "worker/executor/cpu_engine.h"

#include <algorithm>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "model/work_grid.h"
#include "worker/executor/policy_attention.h"

namespace headwise {

CpuEngine::CpuEngine(const Model& model, const ExecutorOptions& options,
                     ThreadTeam& team, ShardWeights weights)
    : hyper_(model.hyperparameters()),
      kernels_(KernelsFor(options.isa)),
      team_(team),
      weights_(std::move(weights)),
      rotations_(hyper_.rope, kernels_),
      lanes_{LayerRunner({&model, &weights_, &kernels_, &team, &rotations_,
                          options.reduction}),
             LayerRunner({&model, &weights_, &kernels_, &team, &rotations_,
                          options.reduction})},
      tile_logits_(static_cast<size_t>(team.num_threads())) {}

void CpuEngine::PreparePlan(const HeadPlan& plan) {
  for (const UnitPolicy& unit : plan.units) {
    rotations_.Reserve(RotationTableSize(unit));
  }
}

absl::Status CpuEngine::RunLayers(absl::Span<const RowBatch* const> batches,
                                  absl::Span<const PieceStates> pieces,
                                  Group* group) {
  absl::InlinedVector<LayerRunner*, kMaxLanes> runners;
  for (size_t i = 0; i < batches.size(); ++i) {
    lanes_[i].SetBatch(*batches[i], pieces[i], group);
    runners.push_back(&lanes_[i]);
  }
  return headwise::RunLayers(runners);
}

absl::Status CpuEngine::CopyResidual(int64_t lane, int64_t first_row,
                                     int64_t num_rows, float* out) {
  const int64_t n = hyper_.model_dim;
  std::copy_n(lanes_[lane].residual() + first_row * n, num_rows * n, out);
  return absl::OkStatus();
}

absl::Status CpuEngine::StartLogits(int64_t lane,
                                    absl::Span<const int64_t> rows) {
  const auto num_rows = static_cast<int64_t>(rows.size());
  logits_lane_ = lane;
  rows_.assign(rows.begin(), rows.end());
  normed_.Reserve(num_rows * hyper_.model_dim);
  normed_q_.Reserve(num_rows, hyper_.model_dim);
  for (AlignedBuffer<float>& logits : tile_logits_) {
    logits.Reserve(num_rows * kVocabTileWidth);
  }
  return absl::OkStatus();
}

void CpuEngine::PrepareLogits(int member) {
  const PartRange part =
      PartOf(static_cast<int64_t>(rows_.size()), member, team_.num_threads());
  const int64_t n = hyper_.model_dim;
  const float* residual = lanes_[logits_lane_].residual();
  for (int64_t row = part.begin; row < part.end; ++row) {
    float* normed = normed_.data() + row * n;
    kernels_.rms_norm(residual + rows_[row] * n, weights_.output_norm.data(),
                      hyper_.norm_epsilon, n, normed);
    kernels_.quantize(normed, n, normed_q_.Row(row));
  }
}

const float* CpuEngine::TileLogits(int member, int64_t tile) {
  const PackedMatrix& weights = weights_.vocab_tiles[tile].rows;
  MatMulArgs args;
  weights.Describe(&args);
  args.last_group = weights.num_groups();
  args.rows = normed_q_.View();
  args.x = normed_.data();
  args.x_stride = hyper_.model_dim;
  args.num_tokens = static_cast<int64_t>(rows_.size());
  args.out = tile_logits_[member].data();
  args.out_stride = kVocabTileWidth;
  kernels_.matmul(args);
  return args.out;
}

}  // namespace headwise
