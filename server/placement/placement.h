// Which rank holds which unit, MLP tile and vocabulary tile.

#ifndef HEADWISE_SERVER_PLACEMENT_PLACEMENT_H_
#define HEADWISE_SERVER_PLACEMENT_PLACEMENT_H_

#include <cstdint>
#include <vector>

namespace headwise {

// For one membership epoch. Immutable.
struct Placement {
  int world_size = 0;
  std::vector<std::vector<int>> unit_rank;      // [num_layers][num_units]
  std::vector<std::vector<int>> mlp_tile_rank;  // [num_layers][num_mlp_tiles]
  std::vector<int> vocab_tile_rank;             // [num_vocab_tiles]
  // Empty, or of every unit the ranks that its context is dealt to: its range i
  // (model/head_plan/context_ranges.h) is on range_rank[layer][unit][i % size].
  // unit_rank still says who has the unit's output.
  std::vector<std::vector<std::vector<int>>> range_rank;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_PLACEMENT_PLACEMENT_H_
