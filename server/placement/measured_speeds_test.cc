#include "server/placement/measured_speeds.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace headwise {
namespace {

constexpr int64_t kContext = 64;

// SmolLM2's.
const ModelShape kShape = {.num_layers = 30,
                           .num_units = 3,
                           .num_mlp_tiles = 8,
                           .num_vocab_tiles = 48,
                           .heads_per_kv_head = 3,
                           .head_dim = 64,
                           .model_dim = 576,
                           .unit_weight_bytes = 200'000,
                           .mlp_tile_weight_bytes = 200'000,
                           .vocab_tile_weight_bytes = 600'000,
                           .kv_bytes_per_unit_position = 256};

std::vector<WorkerCapacity> WorkersOf(const std::vector<double>& speeds) {
  std::vector<WorkerCapacity> workers;
  for (const double speed : speeds) {
    workers.push_back({"w" + std::to_string(workers.size()), speed});
  }
  return workers;
}

// What each rank computes of a step, if `speeds` is what they really are.
std::vector<double> SecondsOf(const PlacementPlan& plan,
                              const std::vector<WorkerCapacity>& workers,
                              const std::vector<double>& speeds) {
  std::vector<double> seconds;
  for (size_t rank = 0; rank < speeds.size(); ++rank) {
    seconds.push_back(plan.ranks[rank].decode_ms * workers[rank].speed /
                      speeds[rank]);
  }
  return seconds;
}

TEST(MeasuredSpeedsTest, FindsTheTrueSpeedsWhateverWasDeclared) {
  for (const std::vector<double>& declared :
       {std::vector<double>{1, 1, 1}, {4, 1, 1}, {0.5, 0.5, 2}}) {
    const auto workers = WorkersOf(declared);
    const PlacementPlan plan = *PlanPlacement(kShape, workers, kContext);
    const std::vector<double> speeds =
        MeasuredSpeeds(plan, workers, SecondsOf(plan, workers, {3, 1, 2}));
    ASSERT_EQ(speeds.size(), 3u);
    EXPECT_NEAR(speeds[0] / speeds[1], 3.0, 1e-9);
    EXPECT_NEAR(speeds[2] / speeds[1], 2.0, 1e-9);
    EXPECT_NEAR(speeds[0] + speeds[1] + speeds[2],
                declared[0] + declared[1] + declared[2], 1e-9);
  }
}

TEST(MeasuredSpeedsTest, NobodyIsTakenForStandingStill) {
  const auto workers = WorkersOf({1, 1});
  const PlacementPlan plan = *PlanPlacement(kShape, workers, kContext);
  const auto speeds =
      MeasuredSpeeds(plan, workers, SecondsOf(plan, workers, {1, 0.001}));
  EXPECT_NEAR(speeds[1] / speeds[0], kLeastSpeedShare, 1e-9);
  const auto moved = *PlanPlacement(kShape, WorkersOf(speeds), kContext);
  EXPECT_GT(moved.ranks[1].num_vocab_tiles, 0) << "or it is never measured";
}

TEST(MeasuredSpeedsTest, WithoutWorkOrTimeThereIsNothingToSay) {
  const auto workers = WorkersOf({1, 1});
  const PlacementPlan plan = *PlanPlacement(kShape, workers, kContext);
  EXPECT_TRUE(MeasuredSpeeds(plan, workers, {1.0, 0.0}).empty());
}

TEST(GainOfMovingTest, ATenthOfTheCpuIsWorthIt) {
  const auto workers = WorkersOf({1, 1, 1});
  const PlacementPlan plan = *PlanPlacement(kShape, workers, kContext);
  const double gain =
      GainOfMoving(kShape, plan, workers, {1, 0.1, 1}, kContext);
  EXPECT_GT(gain, 0.7);
  const auto moved = *PlanPlacement(kShape, WorkersOf({1, 0.1, 1}), kContext);
  EXPECT_LT(moved.ranks[1].num_units, plan.ranks[1].num_units / 2);
}

TEST(GainOfMovingTest, NoiseIsNot) {
  const auto workers = WorkersOf({1, 1, 1});
  const PlacementPlan plan = *PlanPlacement(kShape, workers, kContext);
  for (const double speed : {0.9, 0.95, 1.0, 1.05, 1.1}) {
    EXPECT_LT(GainOfMoving(kShape, plan, workers, {1, speed, 1}, kContext),
              kLeastGain)
        << speed;
  }
}

// Once moved, there is nothing more to gain, so nothing swings to and fro.
TEST(GainOfMovingTest, IsGoneOnceEverythingHasMoved) {
  const std::vector<double> speeds = {1, 0.1, 1};
  const auto workers = WorkersOf(speeds);
  const PlacementPlan plan = *PlanPlacement(kShape, workers, kContext);
  const auto measured =
      MeasuredSpeeds(plan, workers, SecondsOf(plan, workers, speeds));
  EXPECT_NEAR(GainOfMoving(kShape, plan, workers, measured, kContext), 0.0,
              1e-6);
}

}  // namespace
}  // namespace headwise
