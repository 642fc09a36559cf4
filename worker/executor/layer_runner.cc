#include "worker/executor/layer_runner.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/clock.h"
#include "worker/step/step_errors.h"

namespace headwise {
namespace {

// Up to this many rows every thread prepares all rows for itself.
constexpr int64_t kRowsForEveryMember = 4;

// What a failed memory adds to the flag that travels with the sums; members
// with values that are not exact add 1 each.
constexpr int64_t kMemoryFailed = int64_t{1} << 32;

absl::Status FlagError(int64_t flag, int64_t layer) {
  if (flag >= kMemoryFailed) return MemoryBlewUp(layer);
  return ValueOutOfRange(layer);
}

std::vector<LayerBlock> BlocksOf(const Hyperparameters& hyper) {
  std::vector<LayerBlock> blocks;
  const auto& titans = hyper.titans;
  if (titans && titans->has_memory() && !titans->is_mixed()) {
    blocks.push_back(LayerBlock::kMemory);
  }
  if (!titans || titans->has_attention()) {
    blocks.push_back(LayerBlock::kAttention);
  }
  blocks.push_back(LayerBlock::kMlp);
  return blocks;
}

}  // namespace

LayerRunner::LayerRunner(const LayerRunnerContext& context)
    : context_(context),
      hyper_(context.model->hyperparameters()),
      kernels_(*context.kernels),
      rope_(ComputeRopeFrequencies(hyper_.rope)),
      num_threads_(context.team->num_threads()),
      softmax_scale_(static_cast<float>(
          1.0 / std::sqrt(static_cast<double>(hyper_.head_dim)))),
      memory_kernels_(MemoryKernelsFor(kernels_.isa)),
      blocks_(BlocksOf(hyper_)),
      has_memory_(hyper_.titans && hyper_.titans->has_memory()),
      is_mixed_(has_memory_ && hyper_.titans->is_mixed()),
      is_mac_(has_memory_ && hyper_.titans->variant == TitansVariant::kMac),
      sees_beside_(is_mac_ ||
                   (hyper_.titans && hyper_.titans->num_persistent > 0)),
      tile_width_(MakeWorkGrid(hyper_).mlp_tile_width),
      counters_(static_cast<size_t>(kNumWorks * hyper_.num_layers)) {
  int64_t units = 0;
  for (const LayerWeights& layer : context.weights->layers) {
    first_unit_.push_back(units);
    const auto count = static_cast<int64_t>(layer.units.size());
    units += count;
    has_cuts_ |= !layer.cuts.empty();
    max_units_ = std::max(max_units_, count);
    max_tiles_ =
        std::max(max_tiles_, static_cast<int64_t>(layer.mlp_tiles.size()));
  }
  for (int64_t i = 0; i < num_threads_; ++i) {
    Member& member = *members_.emplace_back(std::make_unique<Member>());
    member.policies =
        std::make_unique<PolicyAttention>(kernels_, hyper_, *context.rotations);
    member.summaries = std::make_unique<UnitSummarizer>(kernels_, hyper_);
  }
}

void LayerRunner::Reserve(const RowBatch& batch) {
  const int64_t rows = batch.num_rows;
  const int64_t g = hyper_.heads_per_kv_head();
  const int64_t dim = hyper_.head_dim;
  const auto reserve_rows = [&](Rows& to) {
    to.residual.Reserve(rows * hyper_.model_dim);
    to.normed.Reserve(rows * hyper_.model_dim);
    to.normed_q.Reserve(rows, hyper_.model_dim);
    to.mixed.Reserve(max_units_ * rows * g * dim);
    to.mixed_q.resize(static_cast<size_t>(max_units_));
    if (g * dim % 32 != 0) return;  // then its weights are floats
    for (QuantizedBuffer& unit : to.mixed_q) unit.Reserve(rows, g * dim);
  };
  if (!every_member_) reserve_rows(shared_);
  for (std::unique_ptr<Member>& member : members_) {
    if (every_member_) reserve_rows(member->rows);
    member->head.Reserve(rows * std::max<int64_t>(2 * dim, 96));
    const int64_t span_rows = std::min<int64_t>(rows, kMaxBatchRows) * g;
    member->attend.Reserve(AttendScratchFloats(span_rows, dim));
    member->part_out.Reserve(span_rows * dim);
    member->part_lse.Reserve(span_rows);
    member->lse.Reserve(span_rows);
    std::fill(std::begin(member->not_exact), std::end(member->not_exact), 0);
    member->memory_has_failed = false;
    if (is_mac_) member->segment.Reserve(3 * rows * dim);
  }
  const int64_t pairs = hyper_.rope.rotary_dim / 2;
  cosines_.Reserve(rows * pairs);
  sines_.Reserve(rows * pairs);
  queries_.Reserve(max_units_ * rows * g * dim);
  if (needs_plain_queries_) plain_queries_.Reserve(max_units_ * rows * g * dim);
  if (has_summaries_) razor_means_.Reserve(max_units_ * rows * 2 * dim);
  attended_.Reserve(max_units_ * rows * g * dim);
  if (has_memory_) {
    memory_in_.Reserve(max_units_ * 3 * rows * dim);
    memory_out_.Reserve(max_units_ * rows * dim);
    gates_.Reserve(rows * GateStride());
  }
  const int64_t partial_rows = batch.num_partials * batch.max_partial_rows * g;
  partial_out_.Reserve(max_units_ * partial_rows * dim);
  partial_lse_.Reserve(max_units_ * partial_rows);
  hidden_.Reserve(max_tiles_ * rows * tile_width_);
  hidden_q_.resize(static_cast<size_t>(max_tiles_));
  for (QuantizedBuffer& tile : hidden_q_) tile.Reserve(rows, tile_width_);
  sums_.Reserve(rows * hyper_.model_dim + 1);
  if (context_.reduction == ReductionMode::kFast) {
    fast_sums_.Reserve(rows * hyper_.model_dim);
  }
}

void LayerRunner::LookAtPolicies() {
  needs_plain_queries_ = sees_beside_;
  has_summaries_ = false;
  for (const PieceState& piece : *pieces_) {
    if (piece.kv->plan == nullptr) continue;
    for (const UnitKv& unit : piece.kv->units) {
      needs_plain_queries_ |= NeedsPlainQueries(unit.policy);
      has_summaries_ |= HasSummaries(unit);
    }
  }
  piece_of_row_.resize(static_cast<size_t>(batch_->num_rows));
  for (size_t p = 0; p < batch_->pieces.size(); ++p) {
    const BatchPiece& piece = batch_->pieces[p];
    std::fill_n(piece_of_row_.begin() + piece.first_row, piece.num_rows,
                static_cast<int32_t>(p));
  }
}

void LayerRunner::SetBatch(const RowBatch& batch, const PieceStates& pieces,
                           Group* group) {
  batch_ = &batch;
  pieces_ = &pieces;
  group_ = group;
  LookAtPolicies();
  LookAtCuts();
  every_member_ = batch.num_rows <= kRowsForEveryMember;
  status_ = absl::OkStatus();
  is_started_ = false;
  Reserve(batch);
  for (std::atomic<int64_t>& counter : counters_) counter.store(0);
}

const float* LayerRunner::residual() const {
  return every_member_ ? members_[0]->rows.residual.data()
                       : shared_.residual.data();
}

bool LayerRunner::RunBlock(int member, int64_t layer, int64_t block) {
  switch (blocks_[block]) {
    case LayerBlock::kMemory:
      Memory(member, layer, block);
      return true;
    case LayerBlock::kAttention:
      return Attention(member, layer, block);
    case LayerBlock::kMlp:
      Mlp(member, layer, block);
      return true;
  }
  return false;
}

bool LayerRunner::Attention(int member, int64_t layer, int64_t block) {
  NormRows(member, context_.weights->layers[layer].attention_norm);
  ProjectHeads(member, layer);
  if (is_mixed_) ProjectMemory(member, layer);
  context_.team->Barrier();
  if (has_summaries_) {
    Summarize(member, layer);
    context_.team->Barrier();
  }
  if (!is_mac_) AttendSpans(member, layer);
  if (is_mixed_) WriteMemories(member, layer);
  context_.team->Barrier();
  if (!GatherPartials(member, layer)) return false;
  MixRows(member, layer);
  ProjectOutput(member, layer, block);
  return true;
}

void LayerRunner::Mlp(int member, int64_t layer, int64_t block) {
  NormRows(member, context_.weights->layers[layer].mlp_norm);
  GateUp(member, layer);
  context_.team->Barrier();
  Down(member, layer, block);
}

PartRange LayerRunner::PartOfRows(int member) const {
  if (every_member_) return {0, batch_->num_rows};
  return PartOf(batch_->num_rows, member, static_cast<int>(num_threads_));
}

void LayerRunner::EnterRows(int member) {
  const TensorView& table = *context_.model->FindTensor("token_embd.weight");
  Rows& rows = RowsOf(member);
  const PartRange part = PartOfRows(member);
  const int64_t n = hyper_.model_dim;
  for (int64_t row = part.begin; row < part.end; ++row) {
    float* x = rows.residual.data() + row * n;
    if (batch_->entry == nullptr) {
      DequantizeRow(table, batch_->tokens[row], {x, static_cast<size_t>(n)});
    } else {
      std::copy_n(batch_->entry + row * n, n, x);
    }
  }
  const int64_t pairs = hyper_.rope.rotary_dim / 2;
  const PartRange angles =
      PartOf(batch_->num_rows, member, static_cast<int>(num_threads_));
  for (int64_t row = angles.begin; row < angles.end; ++row) {
    kernels_.rope_angles(static_cast<double>(batch_->positions[row]),
                         rope_.inverse_frequencies.data(), pairs,
                         rope_.magnitude, cosines_.data() + row * pairs,
                         sines_.data() + row * pairs);
  }
  context_.team->Barrier();
}

// Rows that the member itself has brought up to date; member 0 where each has
// all of them.
void LayerRunner::CaptureRows(int member, int64_t layer) {
  if (every_member_ && member != 0) return;
  const PartRange part = PartOfRows(member);
  const int64_t n = hyper_.model_dim;
  for (size_t p = 0; p < pieces_->size(); ++p) {
    const PieceState& state = (*pieces_)[p];
    if (state.capture_layer != layer) continue;
    const BatchPiece& piece = batch_->pieces[p];
    const int64_t begin = std::max(part.begin, piece.first_row);
    const int64_t end = std::min(part.end, piece.first_row + piece.num_rows);
    if (begin >= end) continue;
    std::copy_n(RowsOf(member).residual.data() + begin * n, (end - begin) * n,
                state.capture + (begin - piece.first_row) * n);
  }
}

void LayerRunner::AddResidual(int member) {
  Rows& rows = RowsOf(member);
  const PartRange part = PartOfRows(member);
  const int64_t n = hyper_.model_dim;
  for (int64_t row = part.begin; row < part.end; ++row) {
    float* x = rows.residual.data() + row * n;
    if (context_.reduction == ReductionMode::kExact) {
      kernels_.add_fixed_point(sums_.data() + row * n, n, x);
      continue;
    }
    for (int64_t i = 0; i < n; ++i) x[i] += fast_sums_.data()[row * n + i];
  }
}

void LayerRunner::NormRows(int member, const std::vector<float>& weight) {
  Rows& rows = RowsOf(member);
  const PartRange part = PartOfRows(member);
  const int64_t n = hyper_.model_dim;
  for (int64_t row = part.begin; row < part.end; ++row) {
    float* normed = rows.normed.data() + row * n;
    kernels_.rms_norm(rows.residual.data() + row * n, weight.data(),
                      hyper_.norm_epsilon, n, normed);
    kernels_.quantize(normed, n, rows.normed_q.Row(row));
  }
  if (!every_member_) context_.team->Barrier();
}

MatMulArgs LayerRunner::ProductArgs(const Product& product) const {
  MatMulArgs args;
  product.weights->Describe(&args);
  args.first_group = product.groups.begin;
  args.last_group = product.groups.end;
  args.rows = product.quantized;
  args.x = product.x;
  args.x_stride = product.x_stride;
  args.num_tokens = batch_->num_rows;
  return args;
}

void LayerRunner::Multiply(const Product& product, float* out,
                           int64_t out_stride) const {
  MatMulArgs args = ProductArgs(product);
  args.out = out;
  args.out_stride = out_stride;
  kernels_.matmul(args);
}

void LayerRunner::MultiplyAndAdd(const Product& product, int* not_exact) {
  MatMulArgs args = ProductArgs(product);
  args.out_stride = hyper_.model_dim;
  if (context_.reduction == ReductionMode::kExact) {
    args.sink = ProductSink::kAddExact;
    args.acc = sums_.data() + 16 * product.groups.begin;
    args.not_exact = not_exact;
  } else {
    args.sink = ProductSink::kAddFloat;
    args.out = fast_sums_.data() + 16 * product.groups.begin;
  }
  kernels_.matmul(args);
}

void LayerRunner::ClearSums(PartRange groups) {
  const int64_t begin = 16 * groups.begin;
  const auto count = static_cast<size_t>(16 * (groups.end - groups.begin));
  for (int64_t row = 0; row < batch_->num_rows; ++row) {
    const int64_t at = row * hyper_.model_dim + begin;
    if (context_.reduction == ReductionMode::kExact) {
      std::memset(sums_.data() + at, 0, count * sizeof(int64_t));
    } else {
      std::memset(fast_sums_.data() + at, 0, count * sizeof(float));
    }
  }
}

void LayerRunner::StartSums(int member, int64_t block) {
  context_.team->Barrier();
  if (group_->world_size() > 1 && member == 0) status_ = StartReduce(block);
}

int64_t LayerRunner::FlagOf(int64_t block) const {
  int64_t flag = 0;
  for (const std::unique_ptr<Member>& each : members_) {
    flag += each->not_exact[block];
    if (each->memory_has_failed) flag += kMemoryFailed;
  }
  return flag;
}

bool LayerRunner::FinishSums(int member, int64_t layer, int64_t block) {
  if (group_->world_size() > 1) {
    if (member == 0 && status_.ok()) status_ = FinishReduce(layer);
    context_.team->Barrier();
    return status_.ok();
  }
  // Flags of this block are not written again before the next barrier, so every
  // member sees the same.
  const int64_t flag = FlagOf(block);
  if (flag == 0) return true;
  if (member == 0) status_ = FlagError(flag, layer);
  return false;
}

absl::Span<int64_t> LayerRunner::ExactSums() {
  return {sums_.data(),
          static_cast<size_t>(batch_->num_rows * hyper_.model_dim + 1)};
}

absl::Status LayerRunner::StartReduce(int64_t block) {
  if (context_.reduction != ReductionMode::kExact) return absl::OkStatus();
  const absl::Time start = Clock::Monotonic().Now();
  ExactSums().back() = FlagOf(block);
  const absl::Status status = group_->StartSum(ExactSums());
  is_started_ = status.ok();
  collective_use_.time += Clock::Monotonic().Now() - start;
  return status;
}

absl::Status LayerRunner::FinishReduce(int64_t layer) {
  const absl::Time start = Clock::Monotonic().Now();
  absl::Status status;
  if (context_.reduction == ReductionMode::kExact) {
    is_started_ = false;
    status = group_->FinishSum(ExactSums());
    collective_use_.bytes += static_cast<int64_t>(ExactSums().size()) * 8;
    const int64_t flag = ExactSums().back();
    if (status.ok() && flag != 0) status = FlagError(flag, layer);
  } else {
    const int64_t count = batch_->num_rows * hyper_.model_dim;
    status = group_->AllReduceSum(
        absl::MakeSpan(fast_sums_.data(), static_cast<size_t>(count)));
    collective_use_.bytes += count * 4;
  }
  collective_use_.time += Clock::Monotonic().Now() - start;
  ++collective_use_.count;
  return status;
}

}  // namespace headwise
