#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "server/placement/planner.h"
#include "server/placement/planner_checks.h"

namespace headwise {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

struct RandomCase {
  ModelShape shape;
  std::vector<WorkerCapacity> workers;
  int64_t context_len = 0;
};

RandomCase MakeRandomCase(std::mt19937_64& random) {
  const auto below = [&](int64_t limit) {
    return 1 + static_cast<int64_t>(random() % limit);
  };
  RandomCase result;
  result.shape = {.num_layers = below(40),
                  .num_units = below(10),
                  .num_mlp_tiles = below(30),
                  .num_vocab_tiles = below(60),
                  .heads_per_kv_head = below(8),
                  .head_dim = 64,
                  .model_dim = 576,
                  .unit_weight_bytes = below(1000),
                  .mlp_tile_weight_bytes = below(1000),
                  .vocab_tile_weight_bytes = below(1000),
                  .kv_bytes_per_unit_position = below(4)};
  result.context_len = below(500);
  const int64_t world_size = below(12);
  for (int64_t rank = 0; rank < world_size; ++rank) {
    result.workers.push_back({"w", below(20) / 8.0, 0});
  }
  return result;
}

TEST(PlanPlacementPropertyTest, RandomShapesKeepEveryPromise) {
  constexpr uint64_t kSeed = 7;
  std::mt19937_64 random(kSeed);
  int num_refused = 0;
  for (int round = 0; round < 1500; ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << kSeed << " round " << round);
    RandomCase c = MakeRandomCase(random);
    const auto roomy = PlanPlacement(c.shape, c.workers, c.context_len);
    ASSERT_TRUE(roomy.ok()) << roomy.status();
    ExpectConsistent(c.shape, *roomy);

    // Memory for all, or a little less, dealt out unevenly.
    int64_t needed = 0;
    for (const RankForecast& rank : roomy->ranks) {
      needed += BytesAt(rank, c.context_len);
    }
    for (WorkerCapacity& worker : c.workers) {
      const int64_t share = needed / static_cast<int64_t>(c.workers.size());
      worker.memory_bytes = 1 + share * (4 + random() % 16) / 8;
    }
    const auto plan = PlanPlacement(c.shape, c.workers, c.context_len);
    int64_t available = 0;
    for (const WorkerCapacity& worker : c.workers) {
      available += worker.memory_bytes;
    }
    if (!plan.ok()) {
      ++num_refused;
      EXPECT_EQ(plan.status().code(), absl::StatusCode::kResourceExhausted);
      const int64_t largest = std::max(
          {c.shape.unit_weight_bytes + c.shape.kv_bytes_per_unit_position *
                                           ((c.context_len + 63) / 64 * 64),
           c.shape.mlp_tile_weight_bytes, c.shape.vocab_tile_weight_bytes});
      EXPECT_LT(available - needed,
                largest * static_cast<int64_t>(c.workers.size()));
      continue;
    }
    ExpectConsistent(c.shape, *plan);
    EXPECT_GE(plan->max_context_len, c.context_len);
    for (size_t r = 0; r < c.workers.size(); ++r) {
      const RankForecast& rank = plan->ranks[r];
      EXPECT_LE(BytesAt(rank, c.context_len), c.workers[r].memory_bytes);
      EXPECT_EQ(rank.kv_capacity_bytes,
                c.workers[r].memory_bytes - rank.weight_bytes);
      EXPECT_LE(BytesAt(rank, plan->max_context_len == kUnlimited
                                  ? 0
                                  : plan->max_context_len),
                c.workers[r].memory_bytes);
    }
  }
  EXPECT_GT(num_refused, 10);
  EXPECT_LT(num_refused, 1000);
}

TEST(PlanPlacementPropertyTest, AFasterWorkerNeverGetsFewerUnits) {
  constexpr uint64_t kSeed = 11;
  std::mt19937_64 random(kSeed);
  for (int round = 0; round < 3000; ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << kSeed << " round " << round);
    RandomCase c = MakeRandomCase(random);
    const size_t raised = random() % c.workers.size();
    const auto before = PlanPlacement(c.shape, c.workers, c.context_len);
    c.workers[raised].speed *= 1.0 + static_cast<double>(random() % 100) / 64;
    const auto after = PlanPlacement(c.shape, c.workers, c.context_len);
    ASSERT_TRUE(before.ok() && after.ok());
    EXPECT_GE(after->ranks[raised].num_units, before->ranks[raised].num_units);
    EXPECT_GE(after->ranks[raised].num_mlp_tiles,
              before->ranks[raised].num_mlp_tiles);
  }
}

}  // namespace
}  // namespace headwise
