// Steps under head plans: the bits depend on the plan and the tokens alone.

#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "worker/executor/executor_plan_fixture.h"

namespace headwise {
namespace {

TEST(ExecutorPlanTest, BitsDependOnPlanAndTokensAlone) {
  const TinyModel model(ModelOptions());
  ExpectBitsOfPlanAlone(*model, MixedPlan());
}

// Ranges of 512 positions: 2,300 positions are five of them.
TEST(ExecutorPlanTest, CuttingContextsOverRanksChangesNoBit) {
  const TinyModel model(ModelOptions());
  const std::vector<int32_t> tokens = SomeTokens(2300);
  auto masked = std::make_shared<HeadPlan>(*FullPlan());
  masked->units[4] = Windowed(PolicyKind::kStreaming, 4, 100);
  masked->heads[2].mask = HeadMask::kUniform;
  const auto digests = [&](int world_size, const std::vector<int>& cut,
                           int64_t chunk) {
    Cluster cluster(*model, world_size, Options(2), cut);
    return Digests(cluster, tokens, {masked, 2000, chunk, true});
  };
  const auto expected = digests(1, {}, 512);
  ASSERT_EQ(expected.size(), 2300u);
  EXPECT_EQ(digests(1, {0}, 512), expected);
  EXPECT_EQ(digests(2, {0, 1}, 512), expected);
  EXPECT_EQ(digests(2, {1, 0, 0}, 333), expected);
  EXPECT_EQ(digests(3, {2, 2, 0, 1}, 512), expected);
  EXPECT_EQ(digests(5, {4, 0, 3, 1, 2}, 77), expected);
  EXPECT_EQ(digests(5, {3}, 512), expected) << "all on a rank that owns little";
}

TEST(ExecutorPlanTest, RanksHoldTheirRangesAlone) {
  const TinyModel model(ModelOptions());
  Cluster cluster(*model, 3, Options(), {0, 1, 1});
  Step step;
  step.slices.push_back(ScoreSlice(1, SomeTokens(1536), 0, 1536));
  ASSERT_TRUE(cluster.Run(step).ok());
  EXPECT_EQ(cluster.rank(0).kv_blocks_used(), kLayers * kKvHeads * 8);
  EXPECT_EQ(cluster.rank(1).kv_blocks_used(), kLayers * kKvHeads * 16);
  EXPECT_EQ(cluster.rank(2).kv_blocks_used(), 0);
  step.slices.clear();
  step.forks.push_back({2, 1, 1500});
  step.slices.push_back(ScoreSlice(2, SomeTokens(1600), 1500, 1600));
  EXPECT_TRUE(cluster.Run(step).ok());
  // Range 2 is rank 1's: a copy of the open block, and one more for rank 0.
  EXPECT_EQ(cluster.rank(0).kv_blocks_used(), kLayers * kKvHeads * (8 + 1));
  EXPECT_EQ(cluster.rank(1).kv_blocks_used(), kLayers * kKvHeads * (16 + 1));
}

TEST(ExecutorPlanTest, EveryUnitOfThePlanCounts) {
  const TinyModel model(ModelOptions());
  const RunOptions whole = {MixedPlan(), 600, 512, false};
  const auto expected = DigestsOf(*model, 1, Options(), whole);
  for (int64_t unit = 0; unit < kLayers * kKvHeads; ++unit) {
    auto plan = std::make_shared<HeadPlan>(*whole.plan);
    plan->units[unit] = UnitPolicy();
    EXPECT_NE(DigestsOf(*model, 1, Options(), {plan, 600, 512, false}),
              expected)
        << unit;
  }
  for (const int64_t head : {1, 4, 8, 16}) {
    auto plan = std::make_shared<HeadPlan>(*whole.plan);
    plan->heads[head] = QueryHeadPlan();
    EXPECT_NE(DigestsOf(*model, 1, Options(), {plan, 600, 512, false}),
              expected)
        << head;
  }
}

// Conformance 1 of the method: with a budget that holds everything a policy is
// full attention, here to the bit.
TEST(ExecutorPlanTest, BudgetForEverythingIsFullAttention) {
  const TinyModel model(ModelOptions());
  const auto full = DigestsOf(*model, 1, Options(), {FullPlan()});
  UnitPolicy slots = Windowed(PolicyKind::kStreaming, 10, 690);
  slots.slot_positions = true;
  for (const UnitPolicy& policy :
       {Windowed(PolicyKind::kStreaming, 0, 700),
        Windowed(PolicyKind::kStreaming, 4, 696), slots,
        Windowed(PolicyKind::kRazor, 4, 10)}) {
    auto plan = FullPlan();
    for (UnitPolicy& unit : plan->units) unit = policy;
    // All is prompt, so that Razor drops nothing.
    EXPECT_EQ(DigestsOf(*model, 2, Options(), {plan}), full);
  }
  auto no_sinks = FullPlan();
  for (QueryHeadPlan& head : no_sinks->heads) {
    head.sink_beta = 0.4f;
    head.sink_threshold = 1.0f;
  }
  EXPECT_EQ(DigestsOf(*model, 2, Options(), {no_sinks}), full);
  auto short_of_one = FullPlan();
  for (UnitPolicy& unit : short_of_one->units) {
    unit = Windowed(PolicyKind::kStreaming, 4, 695);
  }
  const auto almost = DigestsOf(*model, 1, Options(), {short_of_one});
  EXPECT_EQ(std::vector(almost.begin(), almost.end() - 1),
            std::vector(full.begin(), full.end() - 1));
  EXPECT_NE(almost.back(), full.back());
}

TEST(ExecutorPlanTest, RefusesPlansAndForksByName) {
  const TinyModel model(ModelOptions());
  Cluster cluster(*model, 1, Options());
  Step first;
  first.plans.push_back({7, MixedPlan()});
  first.slices.push_back(ScoreSlice(1, SomeTokens(200), 0, 200));
  first.slices[0].plan_id = 7;
  ASSERT_TRUE(cluster.Run(first).ok());
  const auto refused = [&](const Step& step, const std::string& text) {
    const absl::Status status = cluster.Run(step).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status) ||
                absl::IsFailedPrecondition(status))
        << status;
    EXPECT_TRUE(absl::StrContains(status.message(), text)) << status;
  };
  Step step;
  step.plans.push_back({7, MixedPlan()});
  step.drop_plan_ids = {9};
  EXPECT_TRUE(cluster.Run(step).ok()) << "told again; never told";
  step.plans = {{7, FullPlan()}};
  refused(step, "plan 7: is another one here");
  auto other = FullPlan();
  other->num_layers = 4;
  step.plans = {{8, other}};
  refused(step, "plan 8: is for 4 layers");
  auto calibrated = std::make_shared<HeadPlan>(*MixedPlan());
  calibrated->heads[0].sink_beta = 0.4f;
  step.plans = {{8, calibrated}};
  refused(step, "plan 8: heads[0] sink_beta: only a head of a full unit");
  step.plans.clear();
  step.slices.push_back(ScoreSlice(2, SomeTokens(5), 0, 5));
  step.slices[0].plan_id = 9;
  refused(step, "sequence 2: plan 9 is not here");
  step.slices.clear();
  step.forks = {{2, 5, 10}};
  refused(step, "a fork of 5, which is not here");
  step.forks = {{1, 1, 10}};
  refused(step, "an id that is taken");
  step.forks = {{2, 1, 201}};
  refused(step, "a fork at 201 of 200 positions");
  step.forks = {{2, 1, 200, 7, 0}, {3, 1, 200}};
  refused(step, "has dropped positions from 64 on");
  // Nothing is left of the fork that could be made.
  step.forks = {{2, 1, 200, 7, 0}};
  EXPECT_TRUE(cluster.Run(step).ok());
}

TEST(ExecutorPlanTest, StreamingUnitsHoldConstantMemory) {
  const TinyModel model(ModelOptions());
  auto plan = FullPlan();
  for (UnitPolicy& unit : plan->units) {
    unit = Windowed(PolicyKind::kStreaming, 4, 64);
  }
  Cluster cluster(*model, 1, Options());
  const std::vector<int32_t> tokens = SomeTokens(3000);
  int64_t most = 0;
  for (int64_t begin = 0; begin < 3000; begin += 500) {
    Step step;
    if (begin == 0) step.plans.push_back({1, plan});
    step.slices.push_back(ScoreSlice(1, tokens, begin, begin + 500));
    step.slices[0].plan_id = 1;
    ASSERT_TRUE(cluster.Run(step).ok());
    most = std::max(most, cluster.rank(0).kv_blocks_used());
  }
  EXPECT_LE(most, kLayers * kKvHeads * 3) << "a sink's block, two of a window";
}

TEST(ExecutorPlanTest, ProbesTellWhatFullUnitsAttendTo) {
  const TinyModel model(ModelOptions());
  const std::vector<int32_t> tokens = SomeTokens(150);
  std::vector<SliceResult> results;
  for (const int64_t chunk : {150, 40}) {
    Cluster cluster(*model, 1, Options(2));
    SliceResult joined;
    for (int64_t begin = 0; begin < 150; begin += chunk) {
      Step step;
      Slice slice =
          ScoreSlice(1, tokens, begin, std::min<int64_t>(begin + chunk, 150));
      slice.probe.argmax = true;
      std::vector<int64_t> all(150);
      for (int64_t d = 0; d < 150; ++d) all[d] = d;
      slice.probe.distance_sets = {{0}, all};
      step.slices.push_back(std::move(slice));
      const absl::StatusOr<StepResult> result = cluster.Run(step);
      ASSERT_TRUE(result.ok()) << result.status();
      const SliceResult& part = result->results[0];
      ASSERT_EQ(part.probes.size(), static_cast<size_t>(kLayers * kHeads));
      const auto rows = static_cast<int64_t>(part.score_logprobs.size());
      for (size_t i = 0; i < part.probes.size(); ++i) {
        const HeadProbe& probe = part.probes[i];
        EXPECT_EQ(probe.layer * kHeads + probe.head, static_cast<int64_t>(i));
        if (joined.probes.size() <= i) joined.probes.push_back({});
        for (int64_t row = 0; row < rows; ++row) {
          EXPECT_LE(probe.argmax[row], begin + row);
          EXPECT_GE(probe.argmax_prob[row], 1.0f / (begin + row + 1) - 1e-6f);
          EXPECT_NEAR(probe.distance_probs[rows + row], 1.0f, 1e-5f)
              << "all distances";
          joined.probes[i].argmax.push_back(probe.argmax[row]);
          joined.probes[i].argmax_prob.push_back(probe.argmax_prob[row]);
          joined.probes[i].distance_probs.push_back(probe.distance_probs[row]);
        }
      }
    }
    results.push_back(std::move(joined));
  }
  for (size_t i = 0; i < results[0].probes.size(); ++i) {
    EXPECT_EQ(results[0].probes[i].argmax, results[1].probes[i].argmax);
    EXPECT_EQ(results[0].probes[i].distance_probs,
              results[1].probes[i].distance_probs);
  }
}

}  // namespace
}  // namespace headwise
