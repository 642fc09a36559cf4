#include "model/head_plan/head_plan_check.h"

#include <cmath>
#include <functional>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/head_plan/policy_names.h"
#include "model/head_plan/test_head_plans.h"

namespace headwise {
namespace {

using testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

struct BadPlan {
  std::function<void(HeadPlan&)> edit;
  std::string message;
};

UnitPolicy Streaming(int64_t num_sinks, int64_t window) {
  return {
      .kind = PolicyKind::kStreaming, .num_sinks = num_sinks, .window = window};
}

UnitPolicy Chunks(PolicyKind kind, int64_t chunk_len, int64_t num_chunks) {
  return {.kind = kind, .chunk_len = chunk_len, .num_chunks = num_chunks};
}

void ExpectRefused(const std::vector<BadPlan>& bad_plans) {
  for (const BadPlan& bad : bad_plans) {
    HeadPlan plan = FullPlan(30, 9, 3);
    bad.edit(plan);
    const absl::Status status = CheckHeadPlan(plan);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << bad.message;
    EXPECT_EQ(status.message(), bad.message);
  }
}

TEST(CheckHeadPlanTest, AcceptsEveryFieldInItsRange) {
  EXPECT_EQ(CheckHeadPlan(EveryFieldPlan()), absl::OkStatus());
  EXPECT_EQ(CheckHeadPlan(FullPlan(1, 1, 1)), absl::OkStatus());
  EXPECT_EQ(CheckHeadPlan(FullPlan(64, 1024, 1024)), absl::OkStatus());
}

TEST(CheckHeadPlanTest, NamesUnitFieldValueAndLimit) {
  const auto unit12 = [](UnitPolicy policy) {
    return [policy](HeadPlan& plan) { plan.units[12] = policy; };
  };
  const std::string at = "units[12] (layer 4, kv_head 0) ";
  ExpectRefused({
      {unit12(Streaming(4, 0)), at + "window: 0 is outside [1, 1048576]"},
      {unit12(Streaming(4, (1 << 20) + 1)),
       at + "window: 1048577 is outside [1, 1048576]"},
      {unit12(Streaming(-1, 1)), at + "num_sinks: -1 is outside [0, 4096]"},
      {unit12(Streaming(4097, 1)), at + "num_sinks: 4097 is outside [0, 4096]"},
      {unit12(Chunks(PolicyKind::kLongHeads, 256, 2)),
       at + "num_chunks: 2 is outside [3, 256]"},
      {unit12(Chunks(PolicyKind::kLongHeads, 256, 257)),
       at + "num_chunks: 257 is outside [3, 256]"},
      {unit12(Chunks(PolicyKind::kLongHeads, 0, 16)),
       at + "chunk_len: 0 is outside [64, 4096]"},
      {unit12(Chunks(PolicyKind::kLandmarkOracle, 100, 16)),
       at + "chunk_len: 100 is not a multiple of 64"},
      {unit12(Chunks(PolicyKind::kQuest, 128, 16)),
       at + "chunk_len: 128 is outside [64, 64]"},
      {unit12({.kind = PolicyKind::kRazor, .window = 9, .window_divisor = -1}),
       at + "window_divisor: -1 is outside [0, 1048576]"},
      {unit12({.kind = PolicyKind::kRazor,
               .window = 9,
               .full_prompt = false,
               .window_divisor = 5}),
       at + "window_divisor: 5 without full_prompt"},
      {unit12({.kind = static_cast<PolicyKind>(7)}),
       at + "policy: 7 is not known"},
      {unit12({.kv_type = static_cast<PlanKvType>(5)}),
       at + "kv_type: 5 is not known"},
  });
}

TEST(CheckHeadPlanTest, RefusesFieldsThatThePolicyDoesNotHave) {
  using Edit = std::function<void(UnitPolicy&)>;
  const std::vector<std::pair<std::string, Edit>> edits = {
      {"num_sinks", [](UnitPolicy& unit) { unit.num_sinks = 1; }},
      {"window", [](UnitPolicy& unit) { unit.window = 1; }},
      {"slot_positions", [](UnitPolicy& unit) { unit.slot_positions = true; }},
      {"count_weight", [](UnitPolicy& unit) { unit.count_weight = false; }},
      {"full_prompt", [](UnitPolicy& unit) { unit.full_prompt = false; }},
      {"window_divisor", [](UnitPolicy& unit) { unit.window_divisor = 1; }},
      {"chunk_len", [](UnitPolicy& unit) { unit.chunk_len = 64; }},
      {"num_chunks", [](UnitPolicy& unit) { unit.num_chunks = 3; }},
      {"per_query_head", [](UnitPolicy& unit) { unit.per_query_head = true; }}};
  const std::vector<std::pair<UnitPolicy, std::vector<std::string>>> have = {
      {{}, {}},
      {Streaming(4, 8), {"num_sinks", "window", "slot_positions"}},
      {{.kind = PolicyKind::kRazor, .window = 8},
       {"num_sinks", "window", "count_weight", "full_prompt",
        "window_divisor"}},
      {Chunks(PolicyKind::kQuest, 64, 3),
       {"chunk_len", "num_chunks", "per_query_head"}},
      {Chunks(PolicyKind::kLandmark, 64, 3),
       {"slot_positions", "chunk_len", "num_chunks", "per_query_head"}}};
  for (const auto& [policy, fields] : have) {
    for (const auto& [field, edit] : edits) {
      UnitPolicy edited = policy;
      edit(edited);
      const bool is_had =
          std::find(fields.begin(), fields.end(), field) != fields.end();
      EXPECT_EQ(CheckUnitPolicy(edited),
                is_had ? absl::OkStatus()
                       : absl::InvalidArgumentError(
                             field + ": is set, but policy " +
                             NameOf(policy.kind) + " does not have it"));
    }
  }
}

TEST(CheckHeadPlanTest, LandmarksStandAtOneDistanceAndAreOneToken) {
  EXPECT_EQ(CheckHeadPlan(LandmarkPlan()), absl::OkStatus());
  const auto landmarks = [](HeadPlan& plan) {
    plan.units[12] = plan.units[20] = Chunks(PolicyKind::kLandmark, 64, 9);
  };
  ExpectRefused({
      {[&](HeadPlan& p) {
         landmarks(p);
         p.units[20].chunk_len = 128;
       },
       "units[20] (layer 6, kv_head 2) chunk_len: 128, but landmarks of "
       "units[12] stand every 64 positions"},
      {[](HeadPlan& p) { p.landmark_token = 5; },
       "landmark_token: is set, but no unit has policy landmark"},
      {[&](HeadPlan& p) {
         landmarks(p);
         p.landmark_token = -2;
       },
       "landmark_token: -2 is outside [-1, 2147483647]"},
      {[&](HeadPlan& p) {
         landmarks(p);
         p.landmark_token = int64_t{1} << 31;
       },
       "landmark_token: 2147483648 is outside [-1, 2147483647]"},
  });
}

TEST(CheckHeadPlanTest, NamesHeadFieldValueAndLimit) {
  const auto head37 = [](QueryHeadPlan head) {
    return [head](HeadPlan& plan) { plan.heads[37] = head; };
  };
  const std::string at = "heads[37] (layer 4, head 1) ";
  ExpectRefused({
      {head37({.output_scale = 1001}),
       at + "output_scale: 1001 is outside [-1000, 1000]"},
      {head37({.output_scale = kNan}),
       at + "output_scale: nan is outside [-1000, 1000]"},
      {head37({.output_scale = -kInf}),
       at + "output_scale: -inf is outside [-1000, 1000]"},
      {head37({.sink_beta = -0.5f, .sink_threshold = 0.1f}),
       at + "sink_beta: -0.5 is outside [0, 1]"},
      {head37({.sink_beta = kNan}), at + "sink_beta: nan is outside [0, 1]"},
      {head37({.sink_beta = 0.5f}), at + "sink_threshold: 0 is outside (0, 1]"},
      {head37({.sink_beta = 0.5f, .sink_threshold = 1.5f}),
       at + "sink_threshold: 1.5 is outside (0, 1]"},
      {head37({.sink_beta = 0.5f, .sink_threshold = kNan}),
       at + "sink_threshold: nan is outside (0, 1]"},
      {head37({.sink_threshold = 0.1f}),
       at + "sink_threshold: is set, but sink_beta 1 does not have it"},
      {head37({.mask = static_cast<HeadMask>(3)}), at + "mask: 3 is not known"},
  });
}

TEST(CheckHeadPlanTest, SizesMustAgree) {
  ExpectRefused({
      {[](HeadPlan& p) { p.num_layers = 0; },
       "num_layers: 0 is outside [1, 1024]"},
      {[](HeadPlan& p) { p.num_layers = int64_t{1} << 62; },
       "num_layers: 4611686018427387904 is outside [1, 1024]"},
      {[](HeadPlan& p) { p.num_heads = 1025; },
       "num_heads: 1025 is outside [1, 1024]"},
      {[](HeadPlan& p) { p.num_kv_heads = -3; },
       "num_kv_heads: -3 is outside [1, 9]"},
      {[](HeadPlan& p) { p.num_kv_heads = 10; },
       "num_kv_heads: 10 is outside [1, 9]"},
      {[](HeadPlan& p) { p.num_kv_heads = 2; },
       "num_kv_heads: 2 does not divide 9 heads"},
      {[](HeadPlan& p) { p.units.pop_back(); },
       "units: 89 entries; 30 layers of 3 kv heads are 90"},
      {[](HeadPlan& p) { p.heads.emplace_back(); },
       "heads: 271 entries; 30 layers of 9 heads are 270"},
      {[](HeadPlan& p) {
         p.num_layers = 1024;
         p.num_heads = p.num_kv_heads = 65;
       },
       "num_heads: 65 in each of 1024 layers are more than the limit 65536"},
  });
}

TEST(CheckHeadPlanTest, ModelAndOriginAreChecked) {
  std::string upper = TestSha256();
  upper[3] = 'A';
  ExpectRefused({
      {[](HeadPlan& p) { p.model_sha256 = "beef"; },
       "model_sha256: \"beef\" is not 64 lower-case hexadecimal digits"},
      {[&](HeadPlan& p) { p.model_sha256 = upper; },
       "model_sha256: \"" + upper +
           "\" is not 64 lower-case hexadecimal digits"},
      {[](HeadPlan& p) { p.origin = std::string(4097, 'x'); },
       "origin: 4097 bytes; the limit is 4096"},
      {[](HeadPlan& p) { p.origin = "ab\xff"; }, "origin: byte 2 is not UTF-8"},
  });
}

TEST(CheckPlanFitsTest, NamesBothModels) {
  const HeadPlan plan = FullPlan(30, 9, 3);
  const std::string other(64, '0');
  EXPECT_EQ(CheckPlanFits(plan, TinyHyperparameters(30, 9, 3), TestSha256()),
            absl::OkStatus());
  const absl::Status status =
      CheckPlanFits(plan, TinyHyperparameters(30, 9, 3), other);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_EQ(status.message(), "model_sha256: the plan is for model " +
                                  TestSha256() + ", this is " + other);
}

TEST(CheckPlanFitsTest, NamesTheSizeThatDiffers) {
  const HeadPlan plan = FullPlan(30, 9, 3);
  const auto message = [&](int64_t layers, int64_t heads, int64_t kv_heads) {
    return std::string(
        CheckPlanFits(plan, TinyHyperparameters(layers, heads, kv_heads),
                      TestSha256())
            .message());
  };
  EXPECT_EQ(message(31, 9, 3), "num_layers: the plan has 30, the model 31");
  EXPECT_EQ(message(30, 12, 3), "num_heads: the plan has 9, the model 12");
  EXPECT_EQ(message(30, 9, 9), "num_kv_heads: the plan has 3, the model 9");
}

TEST(CheckPlanFitsTest, LandmarksAreInTheVocabulary) {
  Hyperparameters hyper = TinyHyperparameters(2, 4, 2);
  hyper.vocab_size = 8;
  EXPECT_EQ(CheckPlanFits(LandmarkPlan(), hyper, TestSha256()),
            absl::OkStatus());
  hyper.vocab_size = 7;
  EXPECT_EQ(CheckPlanFits(LandmarkPlan(), hyper, TestSha256()).message(),
            "landmark_token: 7, the model's vocabulary has 7 tokens");
}

TEST(CheckPlanFitsTest, ABadPlanFitsNothing) {
  HeadPlan plan = FullPlan(30, 9, 3);
  plan.units[0].window = 1;
  EXPECT_THAT(CheckPlanFits(plan, TinyHyperparameters(30, 9, 3), TestSha256())
                  .message(),
              HasSubstr("units[0] (layer 0, kv_head 0) window: is set"));
}

TEST(PolicyNamesTest, NamesComeBackAsTheirValues) {
  for (const char* name : kPolicyNames) {
    EXPECT_STREQ(NameOf(*PolicyNamed(name)), name);
  }
  for (const char* name : kPlanKvTypeNames) {
    EXPECT_STREQ(NameOf(*PlanKvTypeNamed(name)), name);
  }
  for (const char* name : kHeadMaskNames) {
    EXPECT_STREQ(NameOf(*HeadMaskNamed(name)), name);
  }
  EXPECT_EQ(PolicyNamed("Full"), std::nullopt);
  EXPECT_STREQ(NameOf(static_cast<PolicyKind>(77)), "unknown");
}

TEST(PolicyNamesTest, DescriptionsSayWhatDiffersFromTheDefaults) {
  const HeadPlan plan = EveryFieldPlan();
  EXPECT_EQ(DescribePolicy(plan.units[0]), "streaming, 64 sinks, window 256");
  EXPECT_EQ(DescribePolicy(plan.units[1]),
            "streaming, 0 sinks, window 1, slot positions, int8");
  EXPECT_EQ(DescribePolicy(plan.units[2]),
            "razor, 4 sinks, window 4000 or prompt / 5");
  EXPECT_EQ(DescribePolicy(plan.units[4]),
            "razor, 4096 sinks, window 1048576, slot of weight 1, drops in the "
            "prompt, fp32");
  EXPECT_EQ(DescribePolicy(plan.units[5]),
            "longheads, 16 chunks of 256 for each query head, bf16");
  EXPECT_EQ(DescribePolicy(plan.units[9]), "full");
  EXPECT_EQ(DescribePolicy(LandmarkPlan().units[1]),
            "landmark, 8 chunks of 128 for each query head, slot positions, "
            "fp16");
}

}  // namespace
}  // namespace headwise
