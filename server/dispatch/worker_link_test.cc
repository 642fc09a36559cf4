#include "server/dispatch/worker_link.h"

#include <set>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(ShardOfRankTest, ShardsOfAllRanksHoldEachPieceOnce) {
  Placement placement;
  placement.world_size = 3;
  placement.unit_rank = {{0, 0, 1}, {0, 1, 1}};
  placement.mlp_tile_rank = {{0, 1, 2, 2}, {2, 1, 0, 0}};
  placement.vocab_tile_rank = {2, 0, 2};
  const Shard two = ShardOfRank(placement, 2);
  EXPECT_THAT(two.layers[0].units, IsEmpty());
  EXPECT_THAT(two.layers[0].mlp_tiles, ElementsAre(2, 3));
  EXPECT_THAT(two.layers[1].mlp_tiles, ElementsAre(0));
  EXPECT_THAT(two.vocab_tiles, ElementsAre(0, 2));
  EXPECT_THAT(two.vocab_tile_rank, ElementsAre(2, 0, 2));
  EXPECT_EQ(two.num_units(), 0);
  EXPECT_EQ(two.num_mlp_tiles(), 3);
  std::set<std::pair<size_t, int>> units;
  int64_t num_units = 0;
  for (int rank = 0; rank < 3; ++rank) {
    const Shard shard = ShardOfRank(placement, rank);
    num_units += shard.num_units();
    for (size_t layer = 0; layer < shard.layers.size(); ++layer) {
      for (const int unit : shard.layers[layer].units) {
        EXPECT_TRUE(units.emplace(layer, unit).second);
      }
    }
  }
  EXPECT_EQ(num_units, 6);
  EXPECT_EQ(units.size(), 6u);
}

}  // namespace
}  // namespace headwise
