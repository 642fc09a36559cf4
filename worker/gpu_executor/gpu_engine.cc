#include "worker/gpu_executor/gpu_engine.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/pulse.h"
#include "base/status_macros.h"
#include "model/head_plan/policy_names.h"
#include "model/work_grid.h"
#include "worker/executor/executor.h"

namespace headwise {
namespace {

// What a table of the blocks of every context takes if none is shared.
int64_t NumBlocks(const GpuEngineOptions& options) {
  return options.kv_bytes / options.lane.batch.layout.block_bytes();
}

absl::Status Lacks(uint64_t sequence_id, const char* what) {
  return absl::UnimplementedError(absl::StrCat(
      "sequence ", sequence_id, ": ", what, " on a worker with a GPU"));
}

}  // namespace

GpuEngine::LogitsBuffers GpuEngine::LogitsBuffers::Take(
    const GpuEngineOptions& options, Carver* carver) {
  LogitsBuffers b;
  b.residual = carver->Take<float>(kMaxBatchRows * options.lane.model_dim);
  b.normed = DeviceRows::Take(kMaxBatchRows, options.lane.model_dim, carver);
  b.logits = carver->Take<float>(options.num_vocab_tiles * kMaxBatchRows *
                                 kVocabTileWidth);
  b.products = ProductRoom::Take(options.num_vocab_tiles, carver);
  return b;
}

int64_t GpuEngine::BytesBeside(const GpuEngineOptions& options) {
  Carver carver(nullptr);
  LogitsBuffers::Take(options, &carver);
  return carver.num_bytes() +
         kMaxLanes *
             (GpuLane::BytesOf(options.lane) +
              BatchTables::BytesOf(options.lane.batch, NumBlocks(options)));
}

GpuEngine::GpuEngine(const Model& model, const GpuEngineOptions& options,
                     cuda::Device& device)
    : model_(model),
      hyper_(model.hyperparameters()),
      options_(options),
      queue_(device) {}

absl::StatusOr<std::unique_ptr<GpuEngine>> GpuEngine::Create(
    const Model& model, const ShardWeights& weights,
    const GpuEngineOptions& options, cuda::Device& device) {
  auto engine =
      std::unique_ptr<GpuEngine>(new GpuEngine(model, options, device));
  HEADWISE_RETURN_IF_ERROR(engine->Reserve(weights));
  return engine;
}

absl::Status GpuEngine::Reserve(const ShardWeights& weights) {
  HEADWISE_ASSIGN_OR_RETURN(weights_,
                            DeviceWeights::Upload(model_, weights, queue_));
  HEADWISE_ASSIGN_OR_RETURN(
      blocks_, DeviceMemory::Allocate(queue_.device(), options_.kv_bytes));
  Carver count(nullptr);
  LogitsBuffers::Take(options_, &count);
  HEADWISE_ASSIGN_OR_RETURN(
      logits_memory_,
      DeviceMemory::Allocate(queue_.device(), count.num_bytes()));
  Carver carver(logits_memory_.data());
  logits_ = LogitsBuffers::Take(options_, &carver);
  lanes_.reserve(kMaxLanes);
  for (int64_t i = 0; i < kMaxLanes; ++i) {
    lanes_.emplace_back(GpuLane::Context{&model_, weights_.get(), &queue_},
                        options_.lane);
    HEADWISE_RETURN_IF_ERROR(lanes_.back().Reserve(NumBlocks(options_)));
  }
  return queue_.status();
}

absl::Status GpuEngine::CheckPlan(const NumberedPlan& plan) const {
  if (plan.plan == nullptr) return absl::OkStatus();  // refused by the books
  const auto lacks = [&plan](auto... what) {
    return absl::UnimplementedError(absl::StrCat(
        "plan ", plan.plan_id, ": ", what..., " on a worker with a GPU"));
  };
  const KvType kv_type = options_.lane.batch.layout.element;
  for (size_t i = 0; i < plan.plan->units.size(); ++i) {
    const UnitPolicy& unit = plan.plan->units[i];
    if (!HasView(unit)) {
      return lacks("units[", i, "]: policy ",
                   kPolicyNames[static_cast<size_t>(unit.kind)],
                   unit.slot_positions ? " with slot_positions" : "");
    }
    if (ResolveKvType(unit.kv_type, kv_type) != kv_type) {
      return lacks("units[", i, "]: a kv_type of its own");
    }
  }
  for (size_t i = 0; i < plan.plan->heads.size(); ++i) {
    if (plan.plan->heads[i].sink_beta != 1.0f) {
      return lacks("heads[", i, "]: sink_beta");
    }
  }
  return absl::OkStatus();
}

absl::Status GpuEngine::Check(const Step& step) {
  HEADWISE_RETURN_IF_ERROR(queue_.status());
  for (const NumberedPlan& plan : step.plans) {
    HEADWISE_RETURN_IF_ERROR(CheckPlan(plan));
  }
  for (const Slice& slice : step.slices) {
    if (!slice.probe.empty()) return Lacks(slice.sequence_id, "probes");
  }
  return absl::OkStatus();
}

absl::Status GpuEngine::RunLayers(absl::Span<const RowBatch* const> batches,
                                  absl::Span<const PieceStates> pieces,
                                  Group* group) {
  const auto count = static_cast<int64_t>(batches.size());
  for (int64_t i = 0; i < count; ++i) {
    lanes_[i].SetBatch(*batches[i], pieces[i], group);
  }
  const absl::Status status = RunTurns(count, batches[0]->first_layer);
  if (!absl::IsOutOfRange(status)) return status;
  // The failure of one batch leaves no sum of the other open in the group.
  for (int64_t i = 0; i < count; ++i) lanes_[i].CloseSums();
  return status;
}

absl::Status GpuEngine::RunTurns(int64_t count, int64_t first_layer) {
  const int64_t first = first_layer * kNumGpuBlocks;
  const int64_t last = hyper_.num_layers * kNumGpuBlocks;
  for (int64_t block = first; block < last; ++block) {
    const int64_t layer = block / kNumGpuBlocks;
    BeatThreadPulse(kStepAllowance);
    for (int64_t i = 0; i < count; ++i) {
      if (block > first) {
        HEADWISE_RETURN_IF_ERROR(
            lanes_[i].FinishSums((block - 1) / kNumGpuBlocks));
      }
      if (block % kNumGpuBlocks == 0) lanes_[i].CaptureRows(layer);
      lanes_[i].RunBlock(layer, static_cast<GpuBlock>(block % kNumGpuBlocks));
      HEADWISE_RETURN_IF_ERROR(lanes_[i].StartSums());
    }
  }
  for (int64_t i = 0; i < count; ++i) {
    if (last > first) {
      HEADWISE_RETURN_IF_ERROR(lanes_[i].FinishSums(hyper_.num_layers - 1));
    }
    lanes_[i].CaptureRows(hyper_.num_layers);
  }
  for (int64_t i = 0; i < count; ++i) {
    HEADWISE_RETURN_IF_ERROR(lanes_[i].CheckFlags());
  }
  return absl::OkStatus();
}

absl::Status GpuEngine::CopyResidual(int64_t lane, int64_t first_row,
                                     int64_t num_rows, float* out) {
  const int64_t n = hyper_.model_dim;
  queue_.CopyOut(out, lanes_[lane].residual() + first_row * n, num_rows * n);
  return queue_.status();
}

// Rows that follow each other are copied at once.
absl::Status GpuEngine::StartLogits(int64_t lane,
                                    absl::Span<const int64_t> rows) {
  const auto count = static_cast<int64_t>(rows.size());
  const int64_t n = hyper_.model_dim;
  for (int64_t begin = 0, end = 0; begin < count; begin = end) {
    while (end < count && rows[end] - rows[begin] == end - begin) ++end;
    queue_.Copy(logits_.residual + begin * n,
                lanes_[lane].residual() + rows[begin] * n, (end - begin) * n);
  }
  queue_.Run<cuda::RmsNorm>({logits_.residual, weights_->output_norm(),
                             hyper_.norm_epsilon, n, logits_.normed.x},
                            count);
  queue_.RunItems<cuda::Quantize>(
      {logits_.normed.x, logits_.normed.q, count * n / 32});
  std::vector<MatMulArgs> products;
  float* out = logits_.logits;
  for (const PackedMatrix& weights : weights_->vocab_tiles()) {
    MatMulArgs& product =
        products.emplace_back(ProductOf(weights, logits_.normed, count));
    product.out = out;
    product.out_stride = kVocabTileWidth;
    out += count * kVocabTileWidth;
  }
  ProductLister lister(logits_.products);
  const ProductList list = lister.Add(products);
  lister.Upload(queue_);
  RunProducts(list, queue_);
  num_logits_rows_ = count;
  host_logits_.resize(static_cast<size_t>(out - logits_.logits));
  queue_.CopyOut(host_logits_.data(), logits_.logits,
                 static_cast<int64_t>(host_logits_.size()));
  return queue_.status();
}

const float* GpuEngine::TileLogits(int, int64_t tile) {
  return host_logits_.data() + tile * num_logits_rows_ * kVocabTileWidth;
}

}  // namespace headwise
