// What a worker is told to be, and whether that is possible.

#ifndef HEADWISE_WORKER_SERVICE_WORKER_CONFIG_H_
#define HEADWISE_WORKER_SERVICE_WORKER_CONFIG_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/hyperparameters.h"
#include "worker/executor/executor.h"
#include "worker/step/step.h"

namespace headwise {

enum class WorkerGroupKind { kInProcess, kSharedMemory, kGloo };

struct WorkerConfig {
  uint64_t membership_epoch = 0;  // > 0
  std::string model_path;
  std::string model_sha256;  // hexadecimal; empty: not checked
  int rank = 0;
  int world_size = 1;  // 1 to kMaxWorldSize
  Shard shard;
  WorkerGroupKind group_kind = WorkerGroupKind::kSharedMemory;
  absl::Duration group_timeout = absl::Milliseconds(2500);  // of a collective
  ReductionMode reduction = ReductionMode::kExact;
  KvType kv_type = KvType::kFp16;
  int64_t kv_capacity_bytes = 0;  // of this rank
  int64_t max_step_tokens = 0;    // rows of one step
};

// Bounds that need no model. InvalidArgument names field, value and limit.
absl::Status CheckConfig(const WorkerConfig& config);

// Every unit, tile and rank of `config` exists in the model's work grid, lists
// ascend without repeats, and vocab_tiles agree with vocab_tile_rank.
absl::Status CheckShard(const WorkerConfig& config,
                        const Hyperparameters& hyper);

// Everything of a step that can be checked without the cache's books: counts,
// tokens of the vocabulary, sampling options in range.
absl::Status CheckStep(const Step& step, int64_t vocab_size,
                       int64_t max_step_tokens);

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_WORKER_CONFIG_H_
