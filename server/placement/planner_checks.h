// For tests: what every plan must satisfy.

#ifndef HEADWISE_SERVER_PLACEMENT_PLANNER_CHECKS_H_
#define HEADWISE_SERVER_PLACEMENT_PLANNER_CHECKS_H_

#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "server/placement/planner.h"

namespace headwise {

// Weights of a rank plus KV of one sequence in blocks of 64 positions.
inline int64_t BytesAt(const RankForecast& rank, int64_t context_len) {
  return rank.weight_bytes +
         rank.kv_bytes_per_position * ((context_len + 63) / 64 * 64);
}

// Every piece has one rank in range, and the forecast counts what the placement
// says.
inline void ExpectConsistent(const ModelShape& shape,
                             const PlacementPlan& plan) {
  const Placement& placement = plan.placement;
  const size_t world_size = plan.ranks.size();
  ASSERT_EQ(static_cast<size_t>(placement.world_size), world_size);
  ASSERT_EQ(static_cast<int64_t>(placement.unit_rank.size()), shape.num_layers);
  ASSERT_EQ(static_cast<int64_t>(placement.mlp_tile_rank.size()),
            shape.num_layers);
  std::vector<int64_t> units(world_size), tiles(world_size);
  const auto add = [&](const std::vector<int>& ranks, int64_t expected_size,
                       std::vector<int64_t>& sums) {
    ASSERT_EQ(static_cast<int64_t>(ranks.size()), expected_size);
    for (const int rank : ranks) {
      ASSERT_GE(rank, 0);
      ASSERT_LT(static_cast<size_t>(rank), world_size);
      ++sums[rank];
    }
  };
  for (int64_t layer = 0; layer < shape.num_layers; ++layer) {
    add(placement.unit_rank[layer], shape.num_units, units);
    add(placement.mlp_tile_rank[layer], shape.num_mlp_tiles, tiles);
  }
  std::vector<int64_t> vocab(world_size);
  add(placement.vocab_tile_rank, shape.num_vocab_tiles, vocab);
  for (size_t r = 0; r < world_size; ++r) {
    const RankForecast& rank = plan.ranks[r];
    EXPECT_EQ(rank.num_units, units[r]);
    EXPECT_EQ(rank.num_mlp_tiles, tiles[r]);
    EXPECT_EQ(rank.num_vocab_tiles, vocab[r]);
    EXPECT_EQ(rank.weight_bytes, units[r] * shape.unit_weight_bytes +
                                     tiles[r] * shape.mlp_tile_weight_bytes +
                                     vocab[r] * shape.vocab_tile_weight_bytes);
    EXPECT_EQ(rank.kv_bytes_per_position,
              units[r] * shape.kv_bytes_per_unit_position);
  }
}

}  // namespace headwise

#endif  // HEADWISE_SERVER_PLACEMENT_PLANNER_CHECKS_H_
