#include "worker/gpu_executor/gpu_lane.h"

#include <algorithm>
#include <cmath>

#include "base/clock.h"
#include "base/status_macros.h"
#include "worker/step/step_errors.h"

namespace headwise {

GpuLane::GpuLane(const Context& context, const LaneShape& shape)
    : context_(context),
      hyper_(context.model->hyperparameters()),
      shape_(shape),
      rope_magnitude_(ComputeRopeFrequencies(hyper_.rope).magnitude),
      softmax_scale_(static_cast<float>(
          1.0 / std::sqrt(static_cast<double>(hyper_.head_dim)))),
      queue_(*context.queue),
      tables_(shape.batch, queue_) {}

int64_t GpuLane::BytesOf(const LaneShape& shape) {
  Carver carver(nullptr);
  LaneBuffers::Take(shape, &carver);
  return carver.num_bytes();
}

absl::Status GpuLane::Reserve(int64_t num_table_blocks) {
  HEADWISE_RETURN_IF_ERROR(tables_.Reserve(num_table_blocks));
  HEADWISE_ASSIGN_OR_RETURN(
      memory_, DeviceMemory::Allocate(queue_.device(), BytesOf(shape_)));
  Carver carver(memory_.data());
  at_ = LaneBuffers::Take(shape_, &carver);
  return absl::OkStatus();
}

void GpuLane::SetBatch(const RowBatch& batch, const PieceStates& pieces,
                       Group* group) {
  batch_ = &batch;
  pieces_ = &pieces;
  group_ = group;
  is_started_ = false;
  tables_.Upload(batch, pieces);
  ListProducts();
  EnterRows();
}

void GpuLane::EnterRows() {
  const TensorView& table = *context_.model->FindTensor("token_embd.weight");
  const int64_t rows = batch_->num_rows;
  const auto n = static_cast<size_t>(shape_.model_dim);
  if (batch_->entry == nullptr) {
    embeddings_.resize(static_cast<size_t>(num_sums()));
    for (int64_t row = 0; row < rows; ++row) {
      DequantizeRow(table, batch_->tokens[row],
                    absl::MakeSpan(embeddings_).subspan(row * n, n));
    }
  }
  queue_.CopyIn(at_.residual,
                batch_->entry == nullptr ? embeddings_.data() : batch_->entry,
                num_sums());
  queue_.RunItems<cuda::RopeAngles>(
      {tables_.rope_positions, context_.weights->inverse_frequencies(),
       shape_.num_pairs, rope_magnitude_, at_.cosines, at_.sines,
       rows * shape_.num_pairs});
  queue_.Zero(at_.flags, shape_.num_layers * kNumGpuBlocks);
}

void GpuLane::CaptureRows(int64_t layer) {
  for (size_t p = 0; p < pieces_->size(); ++p) {
    const PieceState& state = (*pieces_)[p];
    if (state.capture_layer != layer) continue;
    const BatchPiece& piece = batch_->pieces[p];
    queue_.CopyOut(state.capture,
                   at_.residual + piece.first_row * shape_.model_dim,
                   piece.num_rows * shape_.model_dim);
  }
}

void GpuLane::Quantize(const DeviceRows& rows, int64_t count) {
  queue_.RunItems<cuda::Quantize>({rows.x, rows.q, count / 32});
}

void GpuLane::NormRows(const float* weight) {
  queue_.Run<cuda::RmsNorm>({at_.residual, weight, hyper_.norm_epsilon,
                             shape_.model_dim, at_.normed.x},
                            batch_->num_rows);
  Quantize(at_.normed, num_sums());
}

void GpuLane::RunBlock(int64_t layer, GpuBlock block) {
  queue_.Zero(at_.sums, num_sums() + 1);
  block == GpuBlock::kAttention ? RunAttention(layer) : RunMlp(layer);
}

void GpuLane::RunMlp(int64_t layer) {
  const LayerProducts& products = products_[layer];
  NormRows(context_.weights->layers()[layer].mlp_norm);
  RunProducts(products.gate_ups, queue_);
  queue_.RunItems<cuda::SiluMultiply>(
      {at_.gate, at_.up, at_.hidden.x, products.num_hidden});
  Quantize(at_.hidden, products.num_hidden);
  RunProducts(products.downs, queue_);
}

absl::Status GpuLane::StartSums() {
  if (!flags_travel()) return queue_.status();
  // To wait: FinishSums has the group add up what must be there by then.
  if (group_->sums_on_device()) return ReadFlag().status();
  host_sums_.resize(static_cast<size_t>(num_sums() + 1));
  queue_.CopyOut(host_sums_.data(), at_.sums, num_sums() + 1);
  HEADWISE_RETURN_IF_ERROR(queue_.status());
  const absl::Time start = Clock::Monotonic().Now();
  const absl::Status status = group_->StartSum(absl::MakeSpan(host_sums_));
  is_started_ = status.ok();
  collective_use_.time += Clock::Monotonic().Now() - start;
  return status;
}

absl::Status GpuLane::FinishSums(int64_t layer) {
  if (flags_travel()) {
    const bool on_device = group_->sums_on_device();
    const absl::Time start = Clock::Monotonic().Now();
    is_started_ = false;
    const absl::Status status =
        on_device ? group_->SumOnDevice(at_.sums, num_sums() + 1)
                  : group_->FinishSum(absl::MakeSpan(host_sums_));
    collective_use_.bytes += (num_sums() + 1) * 8;
    collective_use_.time += Clock::Monotonic().Now() - start;
    ++collective_use_.count;
    HEADWISE_RETURN_IF_ERROR(status);
    int64_t flag = 0;
    if (on_device) {
      HEADWISE_ASSIGN_OR_RETURN(flag, ReadFlag());
    } else {
      flag = host_sums_.back();
      queue_.CopyIn(at_.sums, host_sums_.data(), num_sums());
    }
    if (flag != 0) return ValueOutOfRange(layer);
  }
  queue_.RunItems<cuda::AddFixedPoint>({at_.sums, at_.residual, num_sums()});
  return queue_.status();
}

absl::StatusOr<int64_t> GpuLane::ReadFlag() {
  int64_t flag = 0;
  queue_.CopyOut(&flag, at_.sums + num_sums(), 1);
  HEADWISE_RETURN_IF_ERROR(queue_.status());
  return flag;
}

void GpuLane::CloseSums() {
  if (!is_started_) return;
  is_started_ = false;
  // A group that is dead says so in its next call.
  group_->FinishSum(absl::MakeSpan(host_sums_)).IgnoreError();
}

absl::Status GpuLane::CheckFlags() {
  std::vector<int> flags(
      static_cast<size_t>(shape_.num_layers * kNumGpuBlocks));
  queue_.CopyOut(flags.data(), at_.flags, static_cast<int64_t>(flags.size()));
  HEADWISE_RETURN_IF_ERROR(queue_.status());
  for (size_t i = 0; i < flags.size(); ++i) {
    if (flags[i] != 0) {
      return ValueOutOfRange(static_cast<int64_t>(i) / kNumGpuBlocks);
    }
  }
  return absl::OkStatus();
}

}  // namespace headwise
