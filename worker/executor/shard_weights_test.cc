// What a rank keeps of its weights when it gets another shard.

#include "worker/executor/shard_weights.h"

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "worker/executor/executor_fixture.h"

namespace headwise {
namespace {

TinyModelOptions OddShape() {
  TinyModelOptions options;
  options.num_heads = 9;
  options.num_kv_heads = 3;
  options.head_dim = 32;
  options.ffn_dim = 640;
  options.vocab_size = 5000;
  options.dtype = DType::kQ4_1;
  return options;
}

const void* DataOf(const PackedMatrix& matrix) {
  MatMulArgs args;
  matrix.Describe(&args);
  return args.weights;
}

// Where each piece lies, by its name.
std::map<std::string, const void*> Places(const ShardWeights& weights) {
  std::map<std::string, const void*> places;
  for (size_t l = 0; l < weights.layers.size(); ++l) {
    for (const UnitWeights& unit : weights.layers[l].units) {
      places[absl::StrCat(l, " unit ", unit.kv_head)] = DataOf(unit.query);
    }
    for (const MlpTileWeights& tile : weights.layers[l].mlp_tiles) {
      places[absl::StrCat(l, " tile ", tile.index)] = DataOf(tile.down);
    }
  }
  for (const VocabTileWeights& tile : weights.vocab_tiles) {
    places[absl::StrCat("vocab ", tile.index)] = DataOf(tile.rows);
  }
  return places;
}

std::string BytesOf(const PackedMatrix& matrix) {
  return {static_cast<const char*>(DataOf(matrix)),
          static_cast<size_t>(matrix.bytes())};
}

std::string AllBytes(const ShardWeights& weights) {
  std::string bytes;
  for (const LayerWeights& layer : weights.layers) {
    for (const UnitWeights& unit : layer.units) {
      bytes += BytesOf(unit.query) + BytesOf(unit.key) + BytesOf(unit.value) +
               BytesOf(unit.output);
    }
    for (const MlpTileWeights& tile : layer.mlp_tiles) {
      bytes += BytesOf(tile.gate) + BytesOf(tile.up) + BytesOf(tile.down);
    }
  }
  for (const VocabTileWeights& tile : weights.vocab_tiles) {
    bytes += BytesOf(tile.rows);
  }
  return bytes;
}

class ShardWeightsTest : public testing::Test {
 protected:
  absl::StatusOr<ShardWeights> Pack(const Shard& shard) {
    return PackShard(*model_, shard, team_, nullptr, &held_);
  }

  const TinyModel model_{OddShape()};
  ThreadTeam team_{2, {}};
  ShardWeights held_;
};

// A rank of three becomes one of two, then the only one.
TEST_F(ShardWeightsTest, PiecesOfTheNextShardStayWhereTheyAre) {
  auto before = Places(*Pack(ShardOf(*model_, 1, 3)));
  for (const int world_size : {2, 1}) {
    const Shard shard = ShardOf(*model_, world_size - 1, world_size);
    const absl::StatusOr<ShardWeights> after = Pack(shard);
    ASSERT_TRUE(after.ok()) << after.status();
    const auto places = Places(*after);
    size_t num_kept = 0;
    for (const auto& [name, place] : places) {
      const auto found = before.find(name);
      if (found == before.end()) continue;
      ++num_kept;
      EXPECT_EQ(place, found->second) << name;
    }
    EXPECT_GT(num_kept, 0u);
    EXPECT_EQ(after->bytes, *PackedShardBytes(*model_, shard));
    EXPECT_GT(after->loaded_bytes, 0);
    EXPECT_LT(after->loaded_bytes, after->bytes);
    EXPECT_EQ(AllBytes(*after), AllBytes(*PackShard(*model_, shard, team_, {})))
        << "as if packed anew";
    before = places;
  }
}

TEST_F(ShardWeightsTest, TheSameShardLoadsNothing) {
  ASSERT_TRUE(Pack(ShardOf(*model_, 0, 2)).ok());
  const absl::StatusOr<ShardWeights> again = Pack(ShardOf(*model_, 0, 2));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->loaded_bytes, 0);
}

TEST_F(ShardWeightsTest, WhatTheNextShardHasNotIsFreed) {
  ASSERT_TRUE(Pack(ShardOf(*model_, 0, 1)).ok());
  std::vector<std::weak_ptr<const PieceStorage>> tiles;
  for (const MlpTileWeights& tile : held_.layers[0].mlp_tiles) {
    tiles.push_back(tile.storage);
  }
  const Shard half = ShardOf(*model_, 0, 2);
  ASSERT_TRUE(Pack(half).ok());
  for (size_t tile = 0; tile < tiles.size(); ++tile) {
    const std::vector<int>& kept = half.layers[0].mlp_tiles;
    EXPECT_EQ(tiles[tile].expired(),
              std::count(kept.begin(), kept.end(), static_cast<int>(tile)) == 0)
        << tile;
  }
}

// A rank whose cut unit it owned and now only shares, and the other way round.
TEST_F(ShardWeightsTest, AUnitWithoutItsOutputIsAnother) {
  const auto cut = [this](int rank) {
    return WithCuts(*model_, ShardOf(*model_, rank, 2), rank, 2, {0, 1});
  };
  for (const int rank : {0, 1, 0}) {
    const absl::StatusOr<ShardWeights> weights = Pack(cut(rank));
    ASSERT_TRUE(weights.ok()) << weights.status();
    for (const LayerWeights& layer : weights->layers) {
      for (const UnitWeights& unit : layer.units) {
        EXPECT_EQ(layer.cuts[unit.cut].kv_head, unit.kv_head);
        EXPECT_EQ(unit.is_owner, unit.output.rows() > 0);
      }
    }
    EXPECT_EQ(AllBytes(*weights),
              AllBytes(*PackShard(*model_, cut(rank), team_, {})));
  }
}

TEST_F(ShardWeightsTest, AnEndedLoadingKeepsWhatItHadDone) {
  const Shard all = ShardOf(*model_, 0, 1);
  const int64_t bytes = *PackedShardBytes(*model_, all);
  ThreadTeam alone(1, {});
  const absl::Status ended =
      PackShard(
          *model_, all, alone, [](double done) { return done < 0.5; }, &held_)
          .status();
  EXPECT_EQ(ended.code(), absl::StatusCode::kCancelled);
  const absl::StatusOr<ShardWeights> whole = Pack(all);
  ASSERT_TRUE(whole.ok()) << whole.status();
  EXPECT_GT(whole->loaded_bytes, 0);
  EXPECT_LT(whole->loaded_bytes, bytes * 9 / 10);
  EXPECT_EQ(AllBytes(*whole), AllBytes(*PackShard(*model_, all, team_, {})));
}

TEST_F(ShardWeightsTest, ARefusedShardTakesNothingAway) {
  ASSERT_TRUE(Pack(ShardOf(*model_, 0, 1)).ok());
  Shard wrong = ShardOf(*model_, 0, 1);
  wrong.vocab_tiles.push_back(1000);
  EXPECT_FALSE(Pack(wrong).ok());
  EXPECT_EQ(Pack(ShardOf(*model_, 0, 1))->loaded_bytes, 0);
}

}  // namespace
}  // namespace headwise
