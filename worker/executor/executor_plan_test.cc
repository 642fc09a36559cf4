// Steps under head plans: the bits depend on the plan and the tokens alone.

#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "worker/executor/executor_fixture.h"

namespace headwise {
namespace {

constexpr int64_t kLayers = 3;
constexpr int64_t kHeads = 6;
constexpr int64_t kKvHeads = 3;

TinyModelOptions ModelOptions() {
  TinyModelOptions options;
  options.num_layers = kLayers;
  options.num_heads = kHeads;
  options.num_kv_heads = kKvHeads;
  options.max_context_len = 4096;
  return options;
}

std::shared_ptr<HeadPlan> FullPlan() {
  auto plan = std::make_shared<HeadPlan>();
  plan->num_layers = kLayers;
  plan->num_heads = kHeads;
  plan->num_kv_heads = kKvHeads;
  plan->units.resize(kLayers * kKvHeads);
  plan->heads.resize(kLayers * kHeads);
  return plan;
}

UnitPolicy Windowed(PolicyKind kind, int64_t sinks, int64_t window) {
  UnitPolicy policy;
  policy.kind = kind;
  policy.num_sinks = sinks;
  policy.window = window;
  return policy;
}

UnitPolicy Chunked(PolicyKind kind, int64_t chunk_len, int64_t num_chunks) {
  UnitPolicy policy;
  policy.kind = kind;
  policy.chunk_len = chunk_len;
  policy.num_chunks = num_chunks;
  return policy;
}

// Every policy, every gate.
std::shared_ptr<const HeadPlan> MixedPlan() {
  auto plan = FullPlan();
  plan->units[0] = Windowed(PolicyKind::kStreaming, 4, 60);
  plan->units[1] = Windowed(PolicyKind::kStreaming, 3, 33);
  plan->units[1].slot_positions = true;
  plan->units[2] = Windowed(PolicyKind::kRazor, 4, 50);
  plan->units[2].full_prompt = false;
  plan->units[3] = Windowed(PolicyKind::kRazor, 2, 20);
  plan->units[3].window_divisor = 10;
  plan->units[4] = Chunked(PolicyKind::kLongHeads, 64, 4);
  plan->units[5] = Chunked(PolicyKind::kLongHeads, 64, 5);
  plan->units[5].per_query_head = true;
  plan->units[6] = Chunked(PolicyKind::kQuest, 64, 4);
  plan->units[7] = Chunked(PolicyKind::kLandmarkOracle, 64, 4);
  plan->units[8].kv_type = PlanKvType::kInt8;
  plan->heads[1].mask = HeadMask::kUniform;
  plan->heads[4].mask = HeadMask::kZero;
  plan->heads[8].output_scale = 0.5f;
  // Head 16 belongs to unit 8, which is full.
  plan->heads[16].sink_beta = 0.4f;
  plan->heads[16].sink_threshold = 0.01f;
  return plan;
}

struct RunOptions {
  std::shared_ptr<const HeadPlan> plan;
  int64_t prompt_len = 0;
  int64_t chunk = 512;
  bool with_company = false;
};

// Scores `tokens` under a plan; with company under the default plan.
std::vector<Sha256Digest> Digests(Cluster& cluster,
                                  const std::vector<int32_t>& tokens,
                                  const RunOptions& options) {
  std::vector<Sha256Digest> digests;
  const auto count = static_cast<int64_t>(tokens.size());
  for (int64_t begin = 0; begin < count; begin += options.chunk) {
    Step step;
    if (begin == 0) step.plans.push_back({7, options.plan});
    if (options.with_company) {
      step.slices.push_back(ScoreSlice(100, SomeTokens(count, 1), begin,
                                       std::min(begin + options.chunk, count)));
    }
    Slice slice =
        ScoreSlice(1, tokens, begin, std::min(begin + options.chunk, count));
    slice.plan_id = 7;
    slice.prompt_len = options.prompt_len;
    step.slices.push_back(std::move(slice));
    const absl::StatusOr<StepResult> result = cluster.Run(step);
    EXPECT_TRUE(result.ok()) << result.status();
    if (!result.ok()) return {};
    const SliceResult& mine = result->results.back();
    digests.insert(digests.end(), mine.logits_digests.begin(),
                   mine.logits_digests.end());
  }
  return digests;
}

std::vector<Sha256Digest> DigestsOf(const Model& model, int world_size,
                                    const ExecutorOptions& executor,
                                    const RunOptions& options) {
  Cluster cluster(model, world_size, executor);
  return Digests(cluster, SomeTokens(700), options);
}

TEST(ExecutorPlanTest, BitsDependOnPlanAndTokensAlone) {
  const TinyModel model(ModelOptions());
  const std::shared_ptr<const HeadPlan> plan = MixedPlan();
  const RunOptions whole = {plan, 600, 512, false};
  const auto expected = DigestsOf(*model, 1, Options(), whole);
  ASSERT_EQ(expected.size(), 700u);
  for (const int world_size : {2, 3}) {
    EXPECT_EQ(DigestsOf(*model, world_size, Options(2), whole), expected)
        << world_size;
  }
  for (const int64_t chunk : {1, 17, 128, 300}) {
    EXPECT_EQ(DigestsOf(*model, 1, Options(2), {plan, 600, chunk, true}),
              expected)
        << chunk;
  }
  for (const Isa isa : IsasOfThisMachine()) {
    EXPECT_EQ(DigestsOf(*model, 2, Options(1, isa), {plan, 600, 77, true}),
              expected)
        << IsaName(isa);
  }
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

TEST(ExecutorPlanTest, ForkGoesOnAsItsOrigin) {
  const TinyModel model(ModelOptions());
  const std::shared_ptr<const HeadPlan> plan = MixedPlan();
  const std::vector<int32_t> tokens = SomeTokens(500);
  Cluster cluster(*model, 2, Options());
  const auto expected = Digests(cluster, tokens, {plan, 300, 512, false});
  Step prefix;
  prefix.slices.push_back(ScoreSlice(2, tokens, 0, 330));
  prefix.slices[0].plan_id = 7;
  prefix.slices[0].prompt_len = 300;
  ASSERT_TRUE(cluster.Run(prefix).ok());
  Step fork;
  fork.forks.push_back({3, 2, 330, 7, 300});
  fork.forks.push_back({4, 2, 330, 7, 300});
  fork.slices.push_back(ScoreSlice(3, tokens, 330, 500));
  fork.slices.push_back(ScoreSlice(2, SomeTokens(500, 9), 330, 470));
  fork.slices.push_back(ScoreSlice(4, tokens, 330, 400));
  const absl::StatusOr<StepResult> result = cluster.Run(fork);
  ASSERT_TRUE(result.ok()) << result.status();
  const std::vector<Sha256Digest>& mine = result->results[0].logits_digests;
  EXPECT_EQ(mine, std::vector(expected.begin() + 330, expected.end()));
  // What one sequence stores is not seen by another.
  Step later;
  later.slices.push_back(ScoreSlice(4, tokens, 400, 500));
  const absl::StatusOr<StepResult> rest = cluster.Run(later);
  ASSERT_TRUE(rest.ok()) << rest.status();
  EXPECT_EQ(rest->results[0].logits_digests,
            std::vector(expected.begin() + 400, expected.end()));
}

// Keys of 64 chunks lie in a block: the source has two, the fork's own second
// one begins anew.
TEST(ExecutorPlanTest, ShorterForkOfManyChunksForgetsTheLaterOnes) {
  const TinyModel model(ModelOptions());
  auto plan = FullPlan();
  for (UnitPolicy& unit : plan->units) {
    unit = Chunked(PolicyKind::kLongHeads, 64, 4);
  }
  const std::vector<int32_t> tokens = SomeTokens(4500);
  Cluster cluster(*model, 1, Options(2));
  const auto expected = Digests(cluster, tokens, {plan});
  Step prefix;
  std::vector<int32_t> other = SomeTokens(4500, 3);
  std::copy_n(tokens.begin(), 640, other.begin());
  prefix.slices.push_back(ScoreSlice(2, other, 0, 4500));
  prefix.slices[0].plan_id = 7;
  ASSERT_TRUE(cluster.Run(prefix).ok());
  Step fork;
  fork.forks.push_back({3, 2, 640, 7, 0});
  fork.slices.push_back(ScoreSlice(3, tokens, 640, 4500));
  const absl::StatusOr<StepResult> result = cluster.Run(fork);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->results[0].logits_digests,
            std::vector(expected.begin() + 640, expected.end()));
}

TEST(ExecutorPlanTest, ForkMayChangeThePlan) {
  const TinyModel model(ModelOptions());
  auto masked = FullPlan();
  masked->heads[3].mask = HeadMask::kUniform;
  const std::vector<int32_t> tokens = SomeTokens(100);
  Cluster cluster(*model, 2, Options());
  Step prefix;
  prefix.plans.push_back({1, masked});
  prefix.slices.push_back(ScoreSlice(1, tokens, 0, 80));
  ASSERT_TRUE(cluster.Run(prefix).ok());
  Step forks;
  forks.forks.push_back({2, 1, 80, 1, 0});
  forks.forks.push_back({3, 1, 80, 0, 0});
  for (const uint64_t id : {1, 2, 3}) {
    forks.slices.push_back(ScoreSlice(id, tokens, 80, 100));
  }
  const absl::StatusOr<StepResult> result = cluster.Run(forks);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->results[0].logits_digests,
            result->results[2].logits_digests);
  EXPECT_NE(result->results[0].logits_digests,
            result->results[1].logits_digests);
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
