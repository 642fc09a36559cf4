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

TEST(ShardOfRankTest, RanksWithRangesOfAUnitHaveIt) {
  Placement placement;
  placement.world_size = 3;
  placement.unit_rank = {{0, 1}};
  placement.mlp_tile_rank = {{0}};
  placement.range_rank = {{{0, 2}, {1}}};
  const Shard two = ShardOfRank(placement, 2);
  EXPECT_EQ(two.rank, 2);
  EXPECT_THAT(two.layers[0].units, ElementsAre(0));
  const std::vector<ContextCut> cuts = {{0, 0, {0, 2}}, {1, 1, {1}}};
  EXPECT_EQ(two.layers[0].cuts, cuts);
  EXPECT_THAT(ShardOfRank(placement, 0).layers[0].units, ElementsAre(0));
  EXPECT_EQ(ShardOfRank(placement, 1).layers[0].cuts, cuts) << "of all ranks";
}

}  // namespace
}  // namespace headwise
