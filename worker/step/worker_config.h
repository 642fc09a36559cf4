// What a worker is told to be, and what it then is.

#ifndef HEADWISE_WORKER_STEP_WORKER_CONFIG_H_
#define HEADWISE_WORKER_STEP_WORKER_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/head_plan/kv_type.h"

namespace headwise {

// Of one group.
inline constexpr int kMaxRanks = 64;

// What one rank holds.
struct Shard {
  struct Layer {
    std::vector<int> units;      // KV heads, ascending
    std::vector<int> mlp_tiles;  // ascending
  };
  std::vector<Layer> layers;         // [num_layers]
  std::vector<int> vocab_tiles;      // ascending
  std::vector<int> vocab_tile_rank;  // [num_vocab_tiles], of all ranks

  int64_t num_units() const;  // over all layers
  int64_t num_mlp_tiles() const;
};

// kAuto: shared memory if all workers are on one host, else Gloo; the
// coordinator decides, a worker is never told so.
enum class GroupChoice { kAuto, kInProcess, kSharedMemory, kGloo };

// "auto", "in-process", "shm" or "shared-memory", "gloo".
absl::StatusOr<GroupChoice> ParseGroupChoice(const std::string& text);
const char* GroupChoiceName(GroupChoice choice);

// kFast: fp32 sums, whose bits depend on the number of workers.
enum class ReductionMode { kExact, kFast };

// First half of forming a group: what a rank is to load.
struct WorkerConfig {
  uint64_t membership_epoch = 0;  // > 0
  std::string model_path;         // as the worker sees it
  std::string model_sha256;       // hexadecimal; empty: not checked
  int rank = 0;
  int world_size = 1;  // at most kMaxRanks
  Shard shard;
  GroupChoice group = GroupChoice::kSharedMemory;           // not kAuto
  absl::Duration group_timeout = absl::Milliseconds(2500);  // of a collective
  ReductionMode reduction = ReductionMode::kExact;
  KvType kv_type = KvType::kFp16;
  int64_t kv_capacity_bytes = 0;  // of this rank
  int64_t max_step_tokens = 0;    // rows of one step
};

// What Prepare achieved.
struct PreparedShard {
  std::string endpoint;  // of this rank; opaque, handed to all ranks by Join
  int64_t weight_bytes = 0;
  int64_t kv_capacity_blocks = 0;  // blocks of one unit each
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_STEP_WORKER_CONFIG_H_
