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
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_PLACEMENT_PLACEMENT_H_
