#include "server/placement/planner.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/placement/planner_checks.h"

namespace headwise {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

// SmolLM2-135M with Q4_1 matrices, a Q8_0 output and fp16 KV.
ModelShape SmolShape() {
  return {.num_layers = 30,
          .num_units = 3,
          .num_mlp_tiles = 8,
          .num_vocab_tiles = 48,
          .heads_per_kv_head = 3,
          .head_dim = 64,
          .model_dim = 576,
          .unit_weight_bytes = 184320,
          .mlp_tile_weight_bytes = 207360,
          .vocab_tile_weight_bytes = 626688,
          .kv_bytes_per_unit_position = 256};
}

std::vector<WorkerCapacity> Workers(const std::vector<double>& speeds) {
  std::vector<WorkerCapacity> workers;
  for (const double speed : speeds) {
    workers.push_back({"w" + std::to_string(workers.size()), speed, 0});
  }
  return workers;
}

std::vector<int64_t> CountsIn(const std::vector<int>& ranks, int world_size) {
  std::vector<int64_t> counts(world_size, 0);
  for (const int rank : ranks) ++counts[rank];
  return counts;
}

TEST(PlanPlacementTest, SmolOnTwoWorkersTakesTwoAndOneInTurns) {
  const auto plan = PlanPlacement(SmolShape(), Workers({1.0, 1.0}), 4096);
  ASSERT_TRUE(plan.ok()) << plan.status();
  ExpectConsistent(SmolShape(), *plan);
  for (int layer = 0; layer < 30; layer += 2) {
    EXPECT_THAT(plan->placement.unit_rank[layer], ElementsAre(0, 0, 1));
    EXPECT_THAT(plan->placement.unit_rank[layer + 1], ElementsAre(0, 1, 1));
  }
  for (const RankForecast& rank : plan->ranks) {
    EXPECT_EQ(rank.num_units, 45);
    EXPECT_EQ(rank.num_mlp_tiles, 120);
    EXPECT_EQ(rank.num_vocab_tiles, 24);
    EXPECT_EQ(rank.kv_capacity_bytes, kUnlimited);
  }
  EXPECT_EQ(plan->max_context_len, kUnlimited);
}

TEST(PlanPlacementTest, HalfSpeedGetsOneOfThreeUnitsInEveryLayer) {
  const auto plan = PlanPlacement(SmolShape(), Workers({1.0, 0.5}), 0);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->placement.unit_rank, Each(ElementsAre(0, 0, 1)));
  EXPECT_EQ(plan->ranks[0].num_vocab_tiles, 32);
  // Eight tiles at 2 : 1 are 16/3 and 8/3: five and three in some layers would
  // take 6 units of time, six and two take 6 as well, no split takes less.
  for (const auto& tiles : plan->placement.mlp_tile_rank) {
    const std::vector<int64_t> counts = CountsIn(tiles, 2);
    EXPECT_EQ(std::max(counts[0] / 1.0, counts[1] / 0.5), 6.0);
  }
}

TEST(PlanPlacementTest, MoreWorkersThanUnitsTakeTurnsIdle) {
  const auto plan =
      PlanPlacement(SmolShape(), Workers(std::vector<double>(7, 1.0)), 4096);
  ASSERT_TRUE(plan.ok()) << plan.status();
  ExpectConsistent(SmolShape(), *plan);
  std::vector<int64_t> bytes;
  for (const RankForecast& rank : plan->ranks) {
    EXPECT_THAT(rank.num_units, testing::AnyOf(12, 13));      // 90 / 7
    EXPECT_THAT(rank.num_mlp_tiles, testing::AnyOf(34, 35));  // 240 / 7
    bytes.push_back(BytesAt(rank, 4096));
  }
  // The odd pieces do not pile up on one rank.
  const auto [least, most] = std::minmax_element(bytes.begin(), bytes.end());
  EXPECT_LE(*most - *least, 184320 + 256 * 4096);
  for (const auto& ranks : plan->placement.unit_rank) {
    EXPECT_THAT(CountsIn(ranks, 7), Each(testing::Le(1)));
  }
}

TEST(PlanPlacementTest, SixtyFourWorkersWorkAndSixtyFiveDoNot) {
  const auto plan =
      PlanPlacement(SmolShape(), Workers(std::vector<double>(64, 1.0)), 64);
  ASSERT_TRUE(plan.ok()) << plan.status();
  ExpectConsistent(SmolShape(), *plan);
  const auto refused =
      PlanPlacement(SmolShape(), Workers(std::vector<double>(65, 1.0)), 64);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(refused.status().message(), HasSubstr("65 workers"));
}

TEST(PlanPlacementTest, DecodeTimeIsBytesReadByTheSlowestOverItsSpeed) {
  ModelShape shape = SmolShape();
  shape.num_layers = 2;
  const auto plan = PlanPlacement(shape, Workers({1.0, 0.5}), 1000);
  ASSERT_TRUE(plan.ok()) << plan.status();
  constexpr double kUnit = 184320 + 256.0 * 1000;
  // Two units at speed 1 or one at 0.5: the same time; tiles: six unit times.
  const double bytes = 2 * (2 * kUnit + 6 * 207360.0) + 32 * 626688.0;
  // A dozen roundings of 2^-53 each.
  EXPECT_NEAR(plan->decode_ms, bytes / 17.5e6, bytes / 17.5e6 * 12 * 0x1p-53);
  EXPECT_LE(plan->ranks[0].decode_ms, plan->decode_ms);
}

TEST(PlanPlacementTest, ManyHeadsPerKvHeadAreBoundByArithmetic) {
  ModelShape shape = SmolShape();
  shape.heads_per_kv_head = 64;
  shape.num_layers = 1;
  shape.num_units = 1;
  const auto far = PlanPlacement(shape, Workers({1.0}), 100000);
  const auto near = PlanPlacement(shape, Workers({1.0}), 0);
  ASSERT_TRUE(far.ok() && near.ok());
  const double attention_ms = 4.0 * 64 * 64 * 100000 / 133e6;
  const double weights_ms = 184320 / 17.5e6;
  EXPECT_NEAR(far->decode_ms - near->decode_ms, attention_ms - weights_ms,
              far->decode_ms * 12 * 0x1p-53);
}

TEST(PlanPlacementTest, LittleMemoryMovesWorkToRanksWithRoom) {
  std::vector<WorkerCapacity> workers = Workers({1.0, 1.0, 1.0});
  workers[1].memory_bytes = 20'000'000;
  const auto plan = PlanPlacement(SmolShape(), workers, 4096);
  ASSERT_TRUE(plan.ok()) << plan.status();
  ExpectConsistent(SmolShape(), *plan);
  EXPECT_LE(BytesAt(plan->ranks[1], 4096), 20'000'000);
  EXPECT_EQ(plan->ranks[1].num_units, 16);  // 16 * 1,232,896 <= 20,000,000
  EXPECT_EQ(plan->ranks[0].num_units, 37);
  EXPECT_EQ(plan->ranks[2].num_units, 37);
}

// One layer, weights only.
ModelShape Pieces(int64_t num_units, int64_t unit_bytes, int64_t num_tiles,
                  int64_t tile_bytes) {
  ModelShape shape = SmolShape();
  shape.num_layers = shape.num_vocab_tiles = 1;
  shape.num_units = num_units;
  shape.unit_weight_bytes = unit_bytes;
  shape.num_mlp_tiles = num_tiles;
  shape.mlp_tile_weight_bytes = tile_bytes;
  shape.vocab_tile_weight_bytes = 1;
  return shape;
}

// Thirty units dealt out evenly leave no rank the room for the one big tile;
// once it is placed, they follow speed again.
TEST(PlanPlacementTest, BigPiecesGoFirstWhereMemoryIsTight) {
  std::vector<WorkerCapacity> workers = Workers({1.0, 1.0, 1.0});
  workers[0].memory_bytes = 10;
  workers[1].memory_bytes = workers[2].memory_bytes = 19;
  const ModelShape shape = Pieces(30, 1, 1, 10);
  const auto plan = PlanPlacement(shape, workers, 0);
  ASSERT_TRUE(plan.ok()) << plan.status();
  ExpectConsistent(shape, *plan);
  EXPECT_EQ(plan->ranks[0].num_mlp_tiles, 1);
  EXPECT_EQ(plan->ranks[1].num_units, 15);
  EXPECT_EQ(plan->ranks[2].num_units, 15);
}

// The unit must go where it leaves the other rank whole for two tiles.
TEST(PlanPlacementTest, TightestRankIsPackedFirstWhereNothingElseFits) {
  std::vector<WorkerCapacity> workers = Workers({1.0, 1.0});
  workers[0].memory_bytes = 10;
  workers[1].memory_bytes = 7;
  const ModelShape shape = Pieces(1, 6, 2, 5);
  const auto plan = PlanPlacement(shape, workers, 0);
  ASSERT_TRUE(plan.ok()) << plan.status();
  ExpectConsistent(shape, *plan);
  EXPECT_EQ(plan->ranks[0].num_mlp_tiles, 2);
  EXPECT_EQ(plan->ranks[1].num_units, 1);
}

TEST(PlanPlacementTest, WhatCannotFitIsRefusedWithBothNumbers) {
  std::vector<WorkerCapacity> workers = Workers({1.0, 1.0});
  workers[0].memory_bytes = 1'000'000;
  workers[1].memory_bytes = 2'000'000;
  const auto plan = PlanPlacement(SmolShape(), workers, 64);
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kResourceExhausted);
  // 90 * (184,320 + 64 * 256) + 240 * 207,360 + 48 * 626,688
  EXPECT_THAT(plan.status().message(), HasSubstr("need 97910784 bytes"));
  EXPECT_THAT(plan.status().message(), HasSubstr("have 3000000"));
}

// A plan that fills the memory to the last byte is found, and one byte less is
// refused.
TEST(PlanPlacementTest, ExactFitIsFoundAndOneByteLessIsNot) {
  std::vector<WorkerCapacity> workers = Workers({1.0});
  workers[0].memory_bytes = 97'910'784;
  const auto fits = PlanPlacement(SmolShape(), workers, 64);
  ASSERT_TRUE(fits.ok()) << fits.status();
  EXPECT_EQ(fits->max_context_len, 64);
  EXPECT_EQ(PlanPlacement(SmolShape(), workers, 65).status().code(),
            absl::StatusCode::kResourceExhausted);
  --workers[0].memory_bytes;
  EXPECT_EQ(PlanPlacement(SmolShape(), workers, 1).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(PlanPlacementTest, BadInputIsNamed) {
  const auto message = [](const ModelShape& shape,
                          const std::vector<WorkerCapacity>& workers,
                          int64_t context_len) {
    const auto plan = PlanPlacement(shape, workers, context_len);
    EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(plan.status().message());
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_THAT(message(SmolShape(), {}, 1), HasSubstr("0 workers"));
  for (const double speed : {0.0, -1.0, nan, inf, 1e-300}) {
    EXPECT_THAT(message(SmolShape(), Workers({1.0, speed}), 1),
                HasSubstr("worker 'w1': speed"));
  }
  std::vector<WorkerCapacity> debtor = Workers({1.0});
  debtor[0].memory_bytes = -1;
  EXPECT_THAT(message(SmolShape(), debtor, 1), HasSubstr("memory_bytes is -1"));
  EXPECT_THAT(message(SmolShape(), Workers({1.0}), -1),
              HasSubstr("context_len is -1"));
  int64_t ModelShape::*const fields[] = {
      &ModelShape::num_layers,
      &ModelShape::num_units,
      &ModelShape::num_mlp_tiles,
      &ModelShape::num_vocab_tiles,
      &ModelShape::heads_per_kv_head,
      &ModelShape::head_dim,
      &ModelShape::model_dim,
      &ModelShape::unit_weight_bytes,
      &ModelShape::mlp_tile_weight_bytes,
      &ModelShape::vocab_tile_weight_bytes,
      &ModelShape::kv_bytes_per_unit_position};
  for (const auto field : fields) {
    for (const int64_t value : {int64_t{0}, int64_t{-1}, kUnlimited}) {
      ModelShape shape = SmolShape();
      shape.*field = value;
      EXPECT_THAT(message(shape, Workers({1.0}), 1),
                  HasSubstr("is " + std::to_string(value)));
    }
  }
  ModelShape many = SmolShape();
  many.num_units = many.num_layers = 1 << 20;
  EXPECT_THAT(message(many, Workers({1.0}), 1), HasSubstr("at most"));
}

// A rank's limit in 64-bit integers, also where bytes exceed 2^53.
TEST(PlanPlacementTest, LargestContextIsExactForHugeMemory) {
  ModelShape shape = SmolShape();
  shape.num_layers = shape.num_units = shape.num_mlp_tiles = 1;
  shape.num_vocab_tiles = 1;
  shape.kv_bytes_per_unit_position = 1;
  std::vector<WorkerCapacity> workers = Workers({1.0});
  const int64_t weights = 184320 + 207360 + 626688;
  workers[0].memory_bytes = (int64_t{1} << 60) + weights;
  auto plan = PlanPlacement(shape, workers, int64_t{1} << 40);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->max_context_len, int64_t{1} << 60);
  --workers[0].memory_bytes;
  plan = PlanPlacement(shape, workers, 1);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->max_context_len, (int64_t{1} << 60) - 64);
}

}  // namespace
}  // namespace headwise
