// Plans for tests.

#ifndef HEADWISE_MODEL_HEAD_PLAN_TEST_HEAD_PLANS_H_
#define HEADWISE_MODEL_HEAD_PLAN_TEST_HEAD_PLANS_H_

#include <string>

#include "model/head_plan/head_plan_check.h"

namespace headwise {

inline Hyperparameters TinyHyperparameters(int64_t num_layers,
                                           int64_t num_heads,
                                           int64_t num_kv_heads) {
  Hyperparameters hyper;
  hyper.num_layers = num_layers;
  hyper.num_heads = num_heads;
  hyper.num_kv_heads = num_kv_heads;
  hyper.head_dim = 64;
  return hyper;
}

inline std::string TestSha256() {
  std::string hash(64, 'a');
  hash.back() = '7';
  return hash;
}

// All units full.
inline HeadPlan FullPlan(int64_t num_layers, int64_t num_heads,
                         int64_t num_kv_heads) {
  return DefaultHeadPlan(
      TinyHyperparameters(num_layers, num_heads, num_kv_heads), TestSha256());
}

// Four layers, six heads in three KV heads: every policy and every field away
// from its default at least once, units alike in runs and alone.
inline HeadPlan EveryFieldPlan() {
  HeadPlan plan = FullPlan(4, 6, 3);
  const UnitPolicy streaming = {
      .kind = PolicyKind::kStreaming, .num_sinks = 64, .window = 256};
  plan.units[0] = streaming;
  plan.units[3] = streaming;
  plan.units[6] = streaming;
  plan.units[1] = {.kind = PolicyKind::kStreaming,
                   .kv_type = PlanKvType::kInt8,
                   .window = 1,
                   .slot_positions = true};
  plan.units[2] = {.kind = PolicyKind::kRazor,
                   .num_sinks = 4,
                   .window = 4000,
                   .window_divisor = 5};
  plan.units[4] = {.kind = PolicyKind::kRazor,
                   .kv_type = PlanKvType::kFp32,
                   .num_sinks = 4096,
                   .window = 1 << 20,
                   .count_weight = false,
                   .full_prompt = false};
  plan.units[5] = {.kind = PolicyKind::kLongHeads,
                   .kv_type = PlanKvType::kBf16,
                   .chunk_len = 256,
                   .num_chunks = 16,
                   .per_query_head = true};
  plan.units[7] = {.kind = PolicyKind::kQuest,
                   .kv_type = PlanKvType::kFp16,
                   .chunk_len = 64,
                   .num_chunks = 256};
  plan.units[8] = {
      .kind = PolicyKind::kLandmarkOracle, .chunk_len = 4096, .num_chunks = 3};
  plan.units[11].kv_type = PlanKvType::kInt8;
  plan.heads[0].mask = HeadMask::kUniform;
  plan.heads[7].mask = HeadMask::kZero;
  plan.heads[8].mask = HeadMask::kZero;
  plan.heads[9].output_scale = -0.1f;
  plan.heads[23] = {
      .output_scale = 2.0f, .sink_beta = 0.4f, .sink_threshold = 0.005f};
  plan.origin = "a test: \"every field\", caf\u00e9";
  return plan;
}

// Landmarks of two units, one with every field of its own.
inline HeadPlan LandmarkPlan() {
  HeadPlan plan = FullPlan(2, 4, 2);
  plan.units[1] = {.kind = PolicyKind::kLandmark,
                   .kv_type = PlanKvType::kFp16,
                   .slot_positions = true,
                   .chunk_len = 128,
                   .num_chunks = 8,
                   .per_query_head = true};
  plan.units[2] = {
      .kind = PolicyKind::kLandmark, .chunk_len = 128, .num_chunks = 5};
  plan.landmark_token = 7;
  return plan;
}

}  // namespace headwise

#endif  // HEADWISE_MODEL_HEAD_PLAN_TEST_HEAD_PLANS_H_
