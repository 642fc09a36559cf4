// What tests of steps under head plans share.

#ifndef HEADWISE_WORKER_EXECUTOR_EXECUTOR_PLAN_FIXTURE_H_
#define HEADWISE_WORKER_EXECUTOR_EXECUTOR_PLAN_FIXTURE_H_

#include <algorithm>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "worker/executor/executor_fixture.h"

namespace headwise {

inline constexpr int64_t kLayers = 3;
inline constexpr int64_t kHeads = 6;
inline constexpr int64_t kKvHeads = 3;

inline TinyModelOptions ModelOptions() {
  TinyModelOptions options;
  options.num_layers = kLayers;
  options.num_heads = kHeads;
  options.num_kv_heads = kKvHeads;
  options.max_context_len = 4096;
  return options;
}

inline std::shared_ptr<HeadPlan> FullPlan() {
  auto plan = std::make_shared<HeadPlan>();
  plan->num_layers = kLayers;
  plan->num_heads = kHeads;
  plan->num_kv_heads = kKvHeads;
  plan->units.resize(kLayers * kKvHeads);
  plan->heads.resize(kLayers * kHeads);
  return plan;
}

inline UnitPolicy Windowed(PolicyKind kind, int64_t sinks, int64_t window) {
  UnitPolicy policy;
  policy.kind = kind;
  policy.num_sinks = sinks;
  policy.window = window;
  return policy;
}

inline UnitPolicy Chunked(PolicyKind kind, int64_t chunk_len,
                          int64_t num_chunks) {
  UnitPolicy policy;
  policy.kind = kind;
  policy.chunk_len = chunk_len;
  policy.num_chunks = num_chunks;
  return policy;
}

// Every policy, every gate.
inline std::shared_ptr<const HeadPlan> MixedPlan() {
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
inline std::vector<Sha256Digest> Digests(Cluster& cluster,
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

inline std::vector<Sha256Digest> DigestsOf(const Model& model, int world_size,
                                           const ExecutorOptions& executor,
                                           const RunOptions& options) {
  Cluster cluster(model, world_size, executor);
  return Digests(cluster, SomeTokens(700), options);
}

// 700 rows have the same bits on any ranks, threads, chunks and instruction
// set, alone or in company. Returns them.
inline std::vector<Sha256Digest> ExpectBitsOfPlanAlone(
    const Model& model, const std::shared_ptr<const HeadPlan>& plan) {
  const RunOptions whole = {plan, 600, 512, false};
  const auto expected = DigestsOf(model, 1, Options(), whole);
  EXPECT_EQ(expected.size(), 700u);
  for (const int world_size : {2, 3}) {
    EXPECT_EQ(DigestsOf(model, world_size, Options(2), whole), expected)
        << world_size;
  }
  for (const int64_t chunk : {1, 17, 128, 300}) {
    EXPECT_EQ(DigestsOf(model, 1, Options(2), {plan, 600, chunk, true}),
              expected)
        << chunk;
  }
  for (const Isa isa : IsasOfThisMachine()) {
    EXPECT_EQ(DigestsOf(model, 2, Options(1, isa), {plan, 600, 77, true}),
              expected)
        << IsaName(isa);
  }
  return expected;
}

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_EXECUTOR_PLAN_FIXTURE_H_
