#include "server/dispatch/held_shards.h"

#include "gtest/gtest.h"

namespace headwise {
namespace {

ModelShape TwoLayers() {
  return {.num_layers = 2,
          .num_units = 2,
          .num_mlp_tiles = 3,
          .num_vocab_tiles = 2};
}

Shard ShardWith(int unit) {
  Shard shard;
  shard.layers = {{{unit}, {0, 2}, {}}, {{0, 1}, {1}, {}}};
  shard.vocab_tiles = {1};
  return shard;
}

TEST(HeldShardsTest, TellsByNewRankWhoHasWhat) {
  HeldShards held;
  held.Set(7, ShardWith(0));
  held.Set(9, ShardWith(0));
  held.Set(9, ShardWith(1));
  const HeldPieces pieces = held.By({9, 8, 7}, TwoLayers());
  using Bits = std::vector<std::vector<RankBits>>;
  EXPECT_EQ(pieces.units, (Bits{{0b100, 0b001}, {0b101, 0b101}}));
  EXPECT_EQ(pieces.mlp_tiles, (Bits{{0b101, 0, 0b101}, {0, 0b101, 0}}));
  EXPECT_EQ(pieces.vocab_tiles, (std::vector<RankBits>{0, 0b101}));
}

TEST(HeldShardsTest, ForgetsTheOldestRegistrations) {
  HeldShards held;
  for (uint64_t id = 0; id <= HeldShards::kMaxWorkers; ++id) {
    held.Set(id, ShardWith(0));
  }
  EXPECT_EQ(held.By({0, 1}, TwoLayers()).units[0][0], 0b10u);
}

}  // namespace
}  // namespace headwise
