// What a worker is told to be, and what it then is.

#ifndef HEADWISE_WORKER_STEP_WORKER_CONFIG_H_
#define HEADWISE_WORKER_STEP_WORKER_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/build_info.h"
#include "model/head_plan/kv_type.h"

namespace headwise {

// Of one group.
inline constexpr int kMaxRanks = 64;
// After so many ranges the deal of a cut context begins again.
inline constexpr int kMaxRangesPerDeal = 64;

// A unit whose context is cut over ranks: its range i
// (model/head_plan/context_ranges.h) is on rank_of_range[i % size]. Each of
// these ranks projects the unit's queries, keys and values itself, as the
// residual stream is everywhere, and attends to its ranges; the owner merges
// the partials in position order and has the unit's rows of the output. So the
// bits are those of an uncut unit.
struct ContextCut {
  int kv_head = 0;
  int owner = 0;                   // a rank
  std::vector<int> rank_of_range;  // ranks; not empty

  bool Involves(int rank) const;
  friend bool operator==(const ContextCut&, const ContextCut&) = default;
};

// What one rank holds.
struct Shard {
  struct Layer {
    std::vector<int> units;      // KV heads, ascending
    std::vector<int> mlp_tiles;  // ascending
    // Of all ranks, alike on all, by kv_head. Every rank that one involves has
    // the unit in `units`.
    std::vector<ContextCut> cuts;
  };
  int rank = 0;                      // whose shard it is; for cuts
  std::vector<Layer> layers;         // [num_layers]
  std::vector<int> vocab_tiles;      // ascending
  std::vector<int> vocab_tile_rank;  // [num_vocab_tiles], of all ranks

  int64_t num_units() const;  // over all layers
  int64_t num_mlp_tiles() const;
};

// kAuto: the coordinator decides (server/dispatch/group_choice.h), a worker is
// never told so.
enum class GroupChoice { kAuto, kInProcess, kSharedMemory, kGloo, kNccl };

// "auto", "in-process", "shm" or "shared-memory", "gloo", "nccl".
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
  // What the group speaks and computes; its coordinator's.
  uint32_t protocol = OwnBuild().protocols.newest;
  uint32_t numerics = OwnBuild().numerics;
};

// What Prepare achieved.
struct PreparedShard {
  std::string endpoint;  // of this rank; opaque, handed to all ranks by Join
  int64_t weight_bytes = 0;
  int64_t kv_capacity_blocks = 0;   // blocks of one unit each
  int64_t loaded_weight_bytes = 0;  // of all: not kept from the last shard
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_STEP_WORKER_CONFIG_H_
