// Steps under plans for models with landmark tokens.

#include <algorithm>
#include <memory>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "worker/executor/executor_plan_fixture.h"

namespace headwise {
namespace {

UnitPolicy Landmark(int64_t num_chunks, bool slot_positions,
                    bool per_query_head) {
  UnitPolicy policy = Chunked(PolicyKind::kLandmark, 64, num_chunks);
  policy.slot_positions = slot_positions;
  policy.per_query_head = per_query_head;
  return policy;
}

// All ways of a unit, beside units that see everything.
std::shared_ptr<HeadPlan> LandmarkPlan() {
  auto plan = FullPlan();
  plan->units[0] = Landmark(4, false, false);
  plan->units[1] = Landmark(4, false, true);
  plan->units[3] = Landmark(5, true, false);
  plan->units[4] = Landmark(3, true, true);
  plan->units[8] = Landmark(6, true, true);
  plan->units[8].kv_type = PlanKvType::kInt8;
  plan->heads[3].mask = HeadMask::kUniform;
  return plan;
}

TEST(ExecutorLandmarkTest, BitsDependOnPlanAndTokensAlone) {
  const TinyModel model(ModelOptions());
  const std::shared_ptr<const HeadPlan> plan = LandmarkPlan();
  const auto expected = ExpectBitsOfPlanAlone(*model, plan);
  for (const int64_t unit : {0, 1, 3, 4, 8}) {
    auto other = std::make_shared<HeadPlan>(*plan);
    other->units[unit] = UnitPolicy();
    EXPECT_NE(DigestsOf(*model, 1, Options(), {other, 600}), expected) << unit;
  }
}

// Also in the middle of a chunk, and when the source has gone on.
TEST(ExecutorLandmarkTest, ForksGoOnAsTheirOrigin) {
  const TinyModel model(ModelOptions());
  const std::shared_ptr<const HeadPlan> plan = LandmarkPlan();
  const std::vector<int32_t> tokens = SomeTokens(500);
  Cluster cluster(*model, 2, Options());
  const auto expected = Digests(cluster, tokens, {plan});
  Step prefix;
  std::vector<int32_t> other = SomeTokens(500, 3);
  std::copy_n(tokens.begin(), 330, other.begin());
  prefix.slices.push_back(ScoreSlice(2, other, 0, 500));
  prefix.slices[0].plan_id = 7;
  ASSERT_TRUE(cluster.Run(prefix).ok());
  for (const int64_t at : {64, 100, 320, 330}) {
    Step fork;
    const auto id = static_cast<uint64_t>(1000 + at);
    fork.forks.push_back({id, 2, at, 7, 0});
    fork.slices.push_back(ScoreSlice(id, tokens, at, 500));
    const absl::StatusOr<StepResult> result = cluster.Run(fork);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->results[0].logits_digests,
              std::vector(expected.begin() + at, expected.end()))
        << at;
  }
}

TEST(ExecutorLandmarkTest, ForksTakeOverKeysThatAreRotatedAlike) {
  const TinyModel model(ModelOptions());
  auto at_true_positions = FullPlan();
  at_true_positions->units[4] = Landmark(3, false, false);
  auto slots = FullPlan();
  slots->units[4] = Landmark(3, true, false);
  auto longheads = FullPlan();
  longheads->units[4] = Chunked(PolicyKind::kLongHeads, 64, 3);
  const std::vector<int32_t> tokens = SomeTokens(400);
  Cluster cluster(*model, 1, Options());
  Step prefixes;
  prefixes.plans = {{1, at_true_positions}, {2, slots}, {3, longheads}};
  for (const uint64_t id : {1, 2, 3, 4}) {
    prefixes.slices.push_back(ScoreSlice(id, tokens, 0, 320));
    prefixes.slices.back().plan_id = id % 4;
  }
  ASSERT_TRUE(cluster.Run(prefixes).ok());
  uint64_t next_id = 10;
  const auto fork = [&](uint64_t from, uint64_t plan_id) {
    Step step;
    step.forks.push_back({++next_id, from, 320, plan_id, 0});
    step.slices.push_back(ScoreSlice(next_id, tokens, 320, 400));
    return cluster.Run(step).status();
  };
  EXPECT_TRUE(fork(4, 1).ok()) << "from full units";
  EXPECT_TRUE(fork(1, 0).ok());
  EXPECT_TRUE(fork(3, 2).ok());
  for (const auto& [from, plan_id] :
       {std::pair<uint64_t, uint64_t>(4, 2), {1, 2}, {2, 0}, {2, 3}}) {
    const absl::Status refused = fork(from, plan_id);
    EXPECT_TRUE(absl::StrContains(refused.message(),
                                  "unit 4 of the rank is stored otherwise "
                                  "under the new plan"))
        << refused;
  }
}

}  // namespace
}  // namespace headwise
