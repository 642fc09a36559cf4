// Head plans and contrasts on the device under test: the bits of the CPU.

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "worker/executor/executor_plan_fixture.h"
#include "worker/gpu_executor/gpu_executor_fixture.h"

namespace headwise {
namespace {

// Windows that begin in a block's middle, without sinks, with sinks beyond the
// window's begin, within one range and over several; every gate.
std::shared_ptr<const HeadPlan> StreamingPlan() {
  auto plan = FullPlan();
  plan->units[0] = Windowed(PolicyKind::kStreaming, 4, 60);
  plan->units[1] = Windowed(PolicyKind::kStreaming, 0, 33);
  plan->units[2] = Windowed(PolicyKind::kStreaming, 70, 1);
  plan->units[4] = Windowed(PolicyKind::kStreaming, 4, 600);
  plan->units[6] = Windowed(PolicyKind::kStreaming, 530, 40);
  plan->units[7] = Windowed(PolicyKind::kStreaming, 3, 5000);
  plan->heads[1].mask = HeadMask::kUniform;
  plan->heads[4].mask = HeadMask::kZero;
  plan->heads[8].output_scale = 0.5f;
  plan->heads[9].mask = HeadMask::kUniform;
  plan->heads[9].output_scale = -2.0f;
  return plan;
}

TEST(GpuExecutorPlanTest, BitsAreThoseOfTheCpu) {
  const TinyModel model(ModelOptions());
  const RunOptions whole = {StreamingPlan(), 600, 512, false};
  const auto expected = DigestsOf(*model, 1, Options(), whole);
  ASSERT_EQ(expected.size(), 700u);
  for (const char* ranks : {"g", "cg", "ggc"}) {
    for (const int64_t chunk : {700, 77, 9}) {
      SCOPED_TRACE(absl::StrCat("ranks ", ranks, " chunk ", chunk));
      MixedCluster cluster(*model, ranks, Options());
      EXPECT_EQ(Digests(*cluster, SomeTokens(700),
                        {whole.plan, 600, chunk, chunk == 77}),
                expected);
    }
  }
}

TEST(GpuExecutorPlanTest, ALongStreamHasTheBitsOfTheCpu) {
  const TinyModel model(ModelOptions());
  const std::vector<int32_t> tokens = SomeTokens(2300);
  Cluster cpu(*model, 1, Options());
  const auto expected = Digests(cpu, tokens, {StreamingPlan(), 1000, 512});
  ASSERT_EQ(expected.size(), 2300u);
  MixedCluster gpu(*model, "g", Options());
  EXPECT_EQ(Digests(*gpu, tokens, {StreamingPlan(), 1000, 300}), expected);
  EXPECT_EQ(gpu->rank(0).kv_blocks_used(), cpu.rank(0).kv_blocks_used());
}

// Contrasts that begin in every layer, and one that begins in none.
TEST(GpuExecutorPlanTest, ContrastsHaveTheBitsOfTheCpu) {
  const TinyModel model(ModelOptions());
  std::vector<NumberedPlan> plans = {{1, FullPlan()}, {2, StreamingPlan()}};
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    auto masked = FullPlan();
    masked->heads[static_cast<size_t>(layer * kHeads + 1)].mask =
        HeadMask::kUniform;
    plans.push_back({static_cast<uint64_t>(3 + layer), masked});
  }
  const auto run = [&](Cluster& cluster) {
    std::vector<std::vector<float>> scores;
    for (const int64_t begin : {0, 100}) {
      Step step;
      step.step_id = 1 + begin;
      if (begin == 0) step.plans = plans;
      for (uint64_t id = 1; id <= plans.size(); ++id) {
        Slice slice = ScoreSlice(id, SomeTokens(150, static_cast<int>(id)),
                                 begin, begin + 100 < 150 ? 100 : 150);
        slice.contrast_plan_id = id;
        step.slices.push_back(std::move(slice));
      }
      const absl::StatusOr<StepResult> result = cluster.Run(step);
      EXPECT_TRUE(result.ok()) << result.status();
      if (!result.ok()) return scores;
      for (const SliceResult& slice : result->results) {
        scores.push_back(slice.score_logprobs);
        scores.push_back(slice.contrast_logprobs);
      }
    }
    return scores;
  };
  Cluster cpu(*model, 1, Options());
  const auto expected = run(cpu);
  ASSERT_EQ(expected.size(), 4 * plans.size());
  EXPECT_EQ(expected[0], expected[1]);
  EXPECT_NE(expected[2], expected[3]);
  for (const char* ranks : {"g", "gc"}) {
    MixedCluster cluster(*model, ranks, Options());
    EXPECT_EQ(run(*cluster), expected) << ranks;
  }
}

TEST(GpuExecutorPlanTest, RefusesByNameWhatItHasNotAndGoesOn) {
  const TinyModel model(ModelOptions());
  MixedCluster cluster(*model, "g", Options());
  const auto refused = [&](const std::function<void(HeadPlan*)>& spoil,
                           const std::string& text) {
    auto plan = FullPlan();
    spoil(plan.get());
    Step step;
    step.plans.push_back({7, plan});
    step.slices.push_back(ScoreSlice(1, {1, 2, 3}, 0, 3));
    const absl::Status status = cluster->Run(step).status();
    EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), text)) << status;
    EXPECT_EQ(cluster->rank(0).kv_blocks_used(), 0);
  };
  refused([](HeadPlan* p) { p->units[3] = Windowed(PolicyKind::kRazor, 1, 9); },
          "plan 7: units[3]: policy razor on");
  refused(
      [](HeadPlan* p) {
        p->units[8] = Windowed(PolicyKind::kStreaming, 1, 9);
        p->units[8].slot_positions = true;
      },
      "units[8]: policy streaming with slot_positions");
  refused([](HeadPlan* p) { p->units[2].kv_type = PlanKvType::kInt8; },
          "units[2]: a kv_type of its own");
  refused([](HeadPlan* p) { p->heads[5].sink_beta = 0.5f; },
          "heads[5]: sink_beta");
  Slice slice = ScoreSlice(1, {1, 2, 3}, 0, 3);
  slice.probe.argmax = true;
  const absl::Status probed = cluster->Run({1, {slice}, {}}).status();
  EXPECT_TRUE(absl::IsUnimplemented(probed)) << probed;
  slice.probe = {};
  EXPECT_TRUE(cluster->Run({1, {slice}, {}}).ok());
}

}  // namespace
}  // namespace headwise
