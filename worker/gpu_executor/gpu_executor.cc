#include "worker/gpu_executor/gpu_executor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/head_plan/head_plan_check.h"
#include "model/work_grid.h"
#include "worker/executor/executor_setup.h"
#include "worker/executor/held_weights.h"
#include "worker/executor/shard_weights.h"
#include "worker/executor/step_executor.h"
#include "worker/gpu_executor/gpu_engine.h"

namespace headwise {
namespace {

// Of arrays in a device's memory, in bytes.
constexpr int64_t kAlignment = 256;

absl::Status CheckSupported(const Model& model, const Shard& shard,
                            const ExecutorOptions& options) {
  const Hyperparameters& hyper = model.hyperparameters();
  const auto lacks = [](const char* what) {
    return absl::UnimplementedError(
        absl::StrCat(what, " on a worker with a GPU"));
  };
  if (hyper.titans) return lacks("titans models");
  if (DefaultUnitPolicy(hyper).kind != PolicyKind::kFull) {
    return lacks("models whose units have a window");
  }
  if (options.reduction != ReductionMode::kExact) {
    return lacks("the fast reduction");
  }
  if (HasCuts(shard)) return lacks("contexts cut over ranks");
  if (!options.park_dir.empty()) return lacks("parking of sequences");
  if (hyper.head_dim > cuda::kMaxHeadDim) {
    return lacks("heads of more than 1024 elements");
  }
  return absl::OkStatus();
}

GpuEngineOptions EngineOptionsOf(const Model& model, const Shard& shard,
                                 const ExecutorOptions& options) {
  const Hyperparameters& hyper = model.hyperparameters();
  const WorkGrid grid = MakeWorkGrid(hyper);
  GpuEngineOptions out;
  LaneShape& lane = out.lane;
  lane.batch.layout = {options.kv_type, hyper.head_dim};
  lane.batch.heads_per_kv_head = hyper.heads_per_kv_head();
  lane.num_layers = hyper.num_layers;
  lane.model_dim = hyper.model_dim;
  lane.num_pairs = hyper.rope.rotary_dim / 2;
  for (size_t l = 0; l < shard.layers.size(); ++l) {
    const Shard::Layer& layer = shard.layers[l];
    const auto count = static_cast<int64_t>(layer.units.size());
    const auto num_tiles = static_cast<int64_t>(layer.mlp_tiles.size());
    lane.batch.first_unit.push_back(
        static_cast<int64_t>(lane.batch.units.size()));
    for (const int kv_head : layer.units) {
      lane.batch.units.push_back({static_cast<int64_t>(l), kv_head});
    }
    lane.batch.max_units = std::max(lane.batch.max_units, count);
    lane.num_products += 4 * count + 3 * num_tiles;
    lane.hidden_width =
        std::max(lane.hidden_width, num_tiles * grid.mlp_tile_width);
  }
  out.num_vocab_tiles = static_cast<int64_t>(shard.vocab_tiles.size());
  return out;
}

// Sets the KV that fits, at most what was ordered.
absl::Status FitKv(const Model& model, const Shard& shard,
                   const ExecutorOptions& options, cuda::Device& device,
                   GpuEngineOptions* engine) {
  HEADWISE_ASSIGN_OR_RETURN(const int64_t weight_bytes,
                            DeviceWeights::MaxBytes(model, shard));
  HEADWISE_ASSIGN_OR_RETURN(int64_t available, device.AvailableBytes());
  if (options.memory_bytes > 0) {
    available = std::min(available, options.memory_bytes);
  }
  // Tables take 8 bytes of each lane for a block.
  const int64_t block_bytes = engine->lane.batch.layout.block_bytes();
  const int64_t bytes_with_table =
      block_bytes + StepEngine::kMaxLanes * static_cast<int64_t>(sizeof(void*));
  engine->kv_bytes = 0;
  const int64_t row_bytes =
      GpuEngine::BytesBeside(*engine) + StepEngine::kMaxLanes * kAlignment;
  const int64_t num_units = std::max<int64_t>(shard.num_units(), 1);
  const int64_t ordered =
      std::max<int64_t>(options.kv_capacity_bytes / block_bytes, 1);
  const int64_t fit = (available - weight_bytes - row_bytes) / bytes_with_table;
  if (fit < std::min(num_units, ordered)) {
    return absl::ResourceExhaustedError(absl::StrCat(
        device.name(), ": the shard needs ", weight_bytes,
        " bytes for weights, ", row_bytes, " for rows and ",
        num_units * bytes_with_table, " for a KV block of each of its ",
        num_units, " units; available are ", available));
  }
  engine->kv_bytes = std::min(fit, ordered) * block_bytes;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Executor>> CreateGpuExecutor(
    const Model& model, Shard shard, const ExecutorOptions& options,
    cuda::Device& device, std::function<bool(double)> progress) {
  HEADWISE_RETURN_IF_ERROR(CheckShape(model, shard, options));
  HEADWISE_RETURN_IF_ERROR(CheckSupported(model, shard, options));
  GpuEngineOptions engine_options = EngineOptionsOf(model, shard, options);
  HEADWISE_RETURN_IF_ERROR(
      FitKv(model, shard, options, device, &engine_options));
  ExecutorOptions bounded = options;
  bounded.kv_capacity_bytes =
      std::min(options.kv_capacity_bytes, engine_options.kv_bytes);
  StepExecutorParts parts;
  parts.team =
      std::make_unique<ThreadTeam>(options.num_threads, options.pin_to_cpus);
  HEADWISE_ASSIGN_OR_RETURN(
      const ShardWeights weights,
      PackShard(model, shard, *parts.team, progress,
                options.held == nullptr ? nullptr : options.held->weights()));
  HEADWISE_ASSIGN_OR_RETURN(
      std::unique_ptr<GpuEngine> engine,
      GpuEngine::Create(model, weights, engine_options, device));
  parts.model = &model;
  parts.kernels = &KernelsFor(options.isa);
  parts.sequences = SequencesOf(model, shard, bounded);
  parts.sequences.memory = engine.get();
  parts.engine = std::move(engine);
  parts.vocab_tiles = std::move(shard.vocab_tiles);
  parts.vocab_tile_rank = std::move(shard.vocab_tile_rank);
  return std::make_unique<StepExecutor>(std::move(parts));
}

}  // namespace headwise
