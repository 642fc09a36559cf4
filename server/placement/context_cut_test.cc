#include "server/placement/context_cut.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

ModelShape SmolShape() {
  ModelShape shape;
  shape.num_layers = 30;
  shape.num_units = 3;
  shape.num_mlp_tiles = 12;
  shape.num_vocab_tiles = 48;
  shape.heads_per_kv_head = 3;
  shape.head_dim = 64;
  shape.model_dim = 576;
  shape.unit_weight_bytes = 184'320;
  shape.mlp_tile_weight_bytes = 138'240;
  shape.vocab_tile_weight_bytes = 368'640;
  shape.kv_bytes_per_unit_position = 256;
  return shape;
}

std::vector<WorkerCapacity> Workers(const std::vector<double>& speeds,
                                    int64_t memory_bytes) {
  std::vector<WorkerCapacity> workers;
  for (const double speed : speeds) {
    workers.push_back({"w", speed, memory_bytes});
  }
  return workers;
}

int64_t CountOf(const std::vector<int>& deal, int rank) {
  return std::count(deal.begin(), deal.end(), rank);
}

TEST(DealRangesTest, SharesFollowSpeed) {
  const std::vector<int> even = DealRanges({0, 1}, {1.0, 1.0});
  EXPECT_EQ(even.size(), static_cast<size_t>(kRangesPerDeal));
  EXPECT_EQ(CountOf(even, 0), 8);
  EXPECT_EQ(even[0], 0);
  EXPECT_EQ(even[1], 1) << "neighbours lie apart";
  const std::vector<int> uneven = DealRanges({1, 2}, {9.0, 3.0, 1.0});
  EXPECT_EQ(CountOf(uneven, 1), 12);
  EXPECT_EQ(CountOf(uneven, 2), 4);
}

TEST(DealRangesTest, TheSlowestRankGetsARangeToo) {
  const std::vector<int> deal = DealRanges({0, 1, 2}, {1000.0, 1.0, 1.0});
  for (int rank = 0; rank < 3; ++rank) EXPECT_GE(CountOf(deal, rank), 1);
}

TEST(CutContextsTest, EveryUnitIsCutOverItsOwnerAndTheNext) {
  const std::vector<WorkerCapacity> workers = Workers({1, 1, 1}, 1 << 30);
  auto plan = *PlanPlacement(SmolShape(), workers, 4096);
  const PlacementPlan whole = plan;
  ASSERT_TRUE(CutContexts(SmolShape(), workers, 2, &plan).ok());
  for (size_t layer = 0; layer < 30; ++layer) {
    for (size_t unit = 0; unit < 3; ++unit) {
      const int owner = plan.placement.unit_rank[layer][unit];
      const std::vector<int>& deal = plan.placement.range_rank[layer][unit];
      EXPECT_EQ(CountOf(deal, owner), 8);
      EXPECT_EQ(CountOf(deal, (owner + 1) % 3), 8);
    }
  }
  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(plan.ranks[rank].kv_bytes_per_position, 30 * 256);
    EXPECT_GT(plan.ranks[rank].weight_bytes, whole.ranks[rank].weight_bytes);
  }
  EXPECT_LT(plan.max_context_len, whole.max_context_len)
      << "more weights, as much KV";
}

// Three KV heads on five workers: two of them have nothing to hold, until
// contexts are cut.
TEST(CutContextsTest, MoreWorkersThanHeadsShareTheMemory) {
  const std::vector<WorkerCapacity> workers =
      Workers(std::vector<double>(5, 1.0), int64_t{1} << 30);
  auto plan = *PlanPlacement(SmolShape(), workers, 4096);
  const int64_t before = plan.max_context_len;
  ASSERT_TRUE(CutContexts(SmolShape(), workers, 5, &plan).ok());
  EXPECT_GT(plan.max_context_len, before * 9 / 10);
  for (const RankForecast& rank : plan.ranks) {
    EXPECT_GE(rank.kv_bytes_per_position, 90 * 256 * 3 / 16);
    EXPECT_LE(rank.kv_bytes_per_position, 90 * 256 * 4 / 16);
  }
}

TEST(CutContextsTest, RefusesWhatTheGroupHasNot) {
  const std::vector<WorkerCapacity> workers = Workers({1, 1}, 0);
  auto plan = *PlanPlacement(SmolShape(), workers, 64);
  for (const int ranks : {0, 3}) {
    const absl::Status status = CutContexts(SmolShape(), workers, ranks, &plan);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(absl::StrContains(status.message(), "must be 1 to 2"))
        << status;
  }
  ASSERT_TRUE(CutContexts(SmolShape(), workers, 1, &plan).ok());
  EXPECT_TRUE(plan.placement.range_rank.empty());
}

TEST(CutContextsTest, WeightsThatNoLongerFitAreNamed) {
  std::vector<WorkerCapacity> workers = Workers({1, 1}, 0);
  auto plan = *PlanPlacement(SmolShape(), workers, 64);
  workers[1].memory_bytes = plan.ranks[1].weight_bytes + 1000;
  const absl::Status status = CutContexts(SmolShape(), workers, 2, &plan);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
}

}  // namespace
}  // namespace headwise
