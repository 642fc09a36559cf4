#include "worker/executor/executor.h"

#include <utility>

#include "base/status_macros.h"
#include "worker/executor/cpu_engine.h"
#include "worker/executor/executor_setup.h"
#include "worker/executor/row_batch.h"
#include "worker/executor/shard_weights.h"
#include "worker/executor/step_executor.h"

namespace headwise {

int64_t MaxSumBytes(const Hyperparameters& hyper) {
  return (kMaxBatchRows * hyper.model_dim + 1) *
         static_cast<int64_t>(sizeof(int64_t));
}

absl::StatusOr<std::unique_ptr<Executor>> Executor::Create(
    const Model& model, Shard shard, const ExecutorOptions& options,
    std::function<bool(double)> progress) {
  HEADWISE_RETURN_IF_ERROR(CheckShape(model, shard, options));
  ExecutorOptions bounded = options;
  HEADWISE_ASSIGN_OR_RETURN(bounded.kv_capacity_bytes,
                            KvBytesBeside(model, shard, options));
  auto team =
      std::make_unique<ThreadTeam>(options.num_threads, options.pin_to_cpus);
  HEADWISE_ASSIGN_OR_RETURN(
      ShardWeights weights,
      PackShard(model, shard, *team, progress,
                options.held == nullptr ? nullptr : options.held->weights()));
  StepExecutorParts parts;
  parts.model = &model;
  parts.kernels = &KernelsFor(options.isa);
  parts.engine =
      std::make_unique<CpuEngine>(model, options, *team, std::move(weights));
  parts.team = std::move(team);
  parts.sequences = SequencesOf(model, shard, bounded);
  parts.park_dir = options.park_dir;
  parts.vocab_tiles = std::move(shard.vocab_tiles);
  parts.vocab_tile_rank = std::move(shard.vocab_tile_rank);
  return std::make_unique<StepExecutor>(std::move(parts));
}

}  // namespace headwise
