// Decides a placement from the shape of a model and the speed of its workers.

#ifndef HEADWISE_SERVER_PLACEMENT_PLANNER_H_
#define HEADWISE_SERVER_PLACEMENT_PLANNER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/placement/held_pieces.h"
#include "server/placement/placement.h"

namespace headwise {

// Sizes that the cost model needs; filled from a model by the edges, so that
// this folder knows no file format.
struct ModelShape {
  int64_t num_layers = 0;
  int64_t num_units = 0;  // per layer
  int64_t num_mlp_tiles = 0;
  int64_t num_vocab_tiles = 0;
  int64_t heads_per_kv_head = 0;
  int64_t head_dim = 0;
  int64_t model_dim = 0;
  // q, k, v rows and o columns of one unit, and what its memory has of these
  int64_t unit_weight_bytes = 0;
  int64_t mlp_tile_weight_bytes = 0;  // gate, up rows and down columns
  int64_t vocab_tile_weight_bytes = 0;  // output rows
  int64_t kv_bytes_per_unit_position = 0;
};

struct WorkerCapacity {
  std::string name;
  double speed = 1.0;        // relative, > 0
  int64_t memory_bytes = 0;  // for weights and KV; 0: unlimited
};

struct RankForecast {
  int64_t num_units = 0;
  int64_t num_mlp_tiles = 0;
  int64_t num_vocab_tiles = 0;
  int64_t weight_bytes = 0;
  int64_t kv_bytes_per_position = 0;
  // memory_bytes - weight_bytes; INT64_MAX: unlimited
  int64_t kv_capacity_bytes = 0;
  double decode_ms = 0.0;  // own work of one token at context_len
};

struct PlacementPlan {
  Placement placement;
  std::vector<RankForecast> ranks;  // [world_size]
  // A token waits for the slowest rank at every exchange.
  double decode_ms = 0.0;
  // Longest single sequence that every rank can hold, in whole blocks of 64
  // positions; INT64_MAX: unlimited.
  int64_t max_context_len = 0;
};

// Every layer's slowest rank is as fast as whole units and tiles allow; within
// that, totals are in proportion to speed. Memory, where it binds, comes first.
// How many pieces a rank gets does not depend on `held`; which ones does: as
// many as can be of those that it has. Without `held` its pieces are
// neighbours.
//
// Pure and deterministic. InvalidArgument for an empty worker list, more than
// 64 workers, a speed that is not a positive number (1e-6 to 1e6), or a shape
// that is not positive; ResourceExhausted if the weights and the KV of one
// sequence of context_len do not fit, with needed and available bytes. (Where
// less than one piece per rank is free it may refuse what a search would
// place.)
absl::StatusOr<PlacementPlan> PlanPlacement(
    const ModelShape& shape, const std::vector<WorkerCapacity>& workers,
    int64_t context_len, const HeldPieces& held = {});

// PlacementPlan::decode_ms of a placement on ranks of such speeds. Requires a
// placement of the shape, and a speed above 0 for each of its ranks.
double DecodeMs(const ModelShape& shape, const Placement& placement,
                const std::vector<double>& speeds, int64_t context_len);

}  // namespace headwise

#endif  // HEADWISE_SERVER_PLACEMENT_PLANNER_H_
