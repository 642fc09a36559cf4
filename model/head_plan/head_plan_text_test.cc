#include "model/head_plan/head_plan_text.h"

#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/head_plan/test_head_plans.h"
#include "nlohmann/json.hpp"

namespace headwise {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using Json = nlohmann::json;

std::string ErrorOf(const std::string& text) {
  return std::string(ParseHeadPlanText(text).status().message());
}

std::string Head(const std::string& rest) {
  return R"({"version": 1, "model_sha256": ")" + TestSha256() +
         R"(", "layers": 4, "heads": 6, "kv_heads": 3)" + rest + "}";
}

TEST(HeadPlanTextTest, EveryFieldComesBack) {
  for (const HeadPlan& plan : {EveryFieldPlan(), LandmarkPlan(),
                               FullPlan(1, 1, 1), FullPlan(30, 9, 3)}) {
    const absl::StatusOr<HeadPlan> read =
        ParseHeadPlanText(HeadPlanToText(plan));
    ASSERT_TRUE(read.ok()) << read.status() << HeadPlanToText(plan);
    EXPECT_EQ(*read, plan);
  }
}

TEST(HeadPlanTextTest, RunsAreJoined) {
  EXPECT_EQ(HeadPlanToText(EveryFieldPlan()),
            R"({
  "version": 1,
  "model_sha256": ")" +
                TestSha256() + R"(",
  "layers": 4,
  "heads": 6,
  "kv_heads": 3,
  "origin": "a test: \"every field\", café",
  "units": [
    {"layers": "all", "kv_heads": "all", "policy": "streaming", "sinks": 64, "window": 256},
    {"layers": "0", "kv_heads": "1", "policy": "streaming", "sinks": 0, "window": 1, "slot_positions": true, "kv_type": "int8"},
    {"layers": "0", "kv_heads": "2", "policy": "razor", "sinks": 4, "window": 4000, "window_divisor": 5},
    {"layers": "1", "kv_heads": "1", "policy": "razor", "sinks": 4096, "window": 1048576, "count_weight": false, "full_prompt": false, "kv_type": "fp32"},
    {"layers": "1", "kv_heads": "2", "policy": "longheads", "chunk_len": 256, "chunks": 16, "per_query_head": true, "kv_type": "bf16"},
    {"layers": "2", "kv_heads": "1", "policy": "quest", "chunk_len": 64, "chunks": 256, "kv_type": "fp16"},
    {"layers": "2", "kv_heads": "2", "policy": "landmark-oracle", "chunk_len": 4096, "chunks": 3},
    {"layers": "3", "kv_heads": "0,1", "policy": "full"},
    {"layers": "3", "kv_heads": "2", "policy": "full", "kv_type": "int8"}
  ],
  "query_heads": [
    {"layers": "0", "heads": "0", "mask": "uniform"},
    {"layers": "1", "heads": "1,2", "mask": "zero"},
    {"layers": "1", "heads": "3", "output_scale": -0.1},
    {"layers": "3", "heads": "5", "output_scale": 2, "sink_beta": 0.4, "sink_threshold": 0.005}
  ]
}
)");
}

TEST(HeadPlanTextTest, LandmarksAreSaidOnceAndByUnit) {
  EXPECT_THAT(HeadPlanToText(LandmarkPlan()), HasSubstr(R"(
  "landmark_token": 7,
  "units": [
    {"layers": "all", "kv_heads": "all", "policy": "full"},
    {"layers": "0", "kv_heads": "1", "policy": "landmark", "chunk_len": 128, "chunks": 8, "slot_positions": true, "per_query_head": true, "kv_type": "fp16"},
    {"layers": "1", "kv_heads": "0", "policy": "landmark", "chunk_len": 128, "chunks": 5}
  ]
)"));
}

// Layers with the same heads share a rule.
TEST(HeadPlanTextTest, LayersAreJoinedWhereTheirHeadsAreTheSame) {
  HeadPlan plan = FullPlan(30, 9, 3);
  const UnitPolicy streaming = {.kind = PolicyKind::kStreaming, .window = 9};
  for (const size_t layer : {2u, 3u, 4u, 9u}) plan.units[3 * layer] = streaming;
  plan.units[3 * 6 + 1] = streaming;
  EXPECT_THAT(HeadPlanToText(plan),
              HasSubstr("\n    {\"layers\": \"all\", \"kv_heads\": \"all\", "
                        "\"policy\": \"full\"},\n"
                        "    {\"layers\": \"2-4,9\", \"kv_heads\": \"0\", "
                        "\"policy\": \"streaming\", \"sinks\": 0, \"window\": "
                        "9},\n    {\"layers\": \"6\", \"kv_heads\": \"1\", "));
  EXPECT_EQ(*ParseHeadPlanText(HeadPlanToText(plan)), plan);
}

// A few floats whose shortest text goes wrong through double, or is long.
TEST(HeadPlanTextTest, FloatsComeBackExactly) {
  HeadPlan plan = FullPlan(1, 1024, 1);
  uint32_t bits = 12345;
  for (QueryHeadPlan& head : plan.heads) {
    bits = bits * 1664525 + 1013904223;
    head.output_scale = static_cast<float>(bits) * 0x1p-23f - 255.0f;
    head.sink_beta = static_cast<float>(bits % 65521) / 65521.0f;
    head.sink_threshold = static_cast<float>(bits | 1) * 0x1p-33f;
  }
  EXPECT_EQ(*ParseHeadPlanText(HeadPlanToText(plan)), plan);
}

TEST(HeadPlanTextTest, LaterRulesReplaceEarlierOnesWhole) {
  const absl::StatusOr<HeadPlan> plan = ParseHeadPlanText(Head(R"(,
    "units": [
      {"layers": "0-2", "kv_heads": "all", "policy": "streaming",
       "sinks": 4, "window": 8, "kv_type": "int8"},
      {"layers": "1", "kv_heads": "0,2", "policy": "full"}],
    "query_heads": [
      {"layers": "all", "heads": "1", "mask": "zero"},
      {"layers": "2", "heads": "all", "output_scale": 2}])"));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->unit(0, 0), (UnitPolicy{.kind = PolicyKind::kStreaming,
                                          .kv_type = PlanKvType::kInt8,
                                          .num_sinks = 4,
                                          .window = 8}));
  EXPECT_EQ(plan->unit(1, 1), plan->unit(0, 0));
  EXPECT_EQ(plan->unit(1, 0), UnitPolicy{});
  EXPECT_EQ(plan->unit(1, 2), UnitPolicy{});
  EXPECT_EQ(plan->unit(3, 0), UnitPolicy{});
  EXPECT_EQ(plan->head(1, 1).mask, HeadMask::kZero);
  EXPECT_EQ(plan->head(2, 1), QueryHeadPlan{.output_scale = 2});
}

TEST(HeadPlanTextTest, WhatIsNoJsonIsNamedByItsByte) {
  EXPECT_THAT(ErrorOf("{\"version\": 1,}"), StartsWith("head plan: byte 15:"));
  EXPECT_EQ(ErrorOf("[]"), "head plan: is of type array, want an object");
  EXPECT_EQ(ErrorOf(Head(R"(, "kv_heads": 3)")),
            "head plan: key \"kv_heads\" occurs twice");
  EXPECT_EQ(ErrorOf(Head(R"(, "units": [{"layers": "0", "layers": "1"}])")),
            "head plan: key \"layers\" occurs twice");
  EXPECT_EQ(ErrorOf(Head(R"(, "units": null)")),
            "units: is of type null, want a list");
  EXPECT_EQ(ErrorOf(Head(R"(, "units": [[[[]]]])")),
            "head plan: nesting exceeds the limit 4");
  EXPECT_EQ(ErrorOf(std::string((4 << 20) + 1, ' ')),
            "head plan has 4194305 bytes; the limit is 4194304");
}

// Rules are short and models are large: what they name in all is bounded.
TEST(HeadPlanTextTest, RulesAreBoundedByWhatTheyName) {
  std::string text = R"({"version": 1, "model_sha256": ")" + TestSha256() +
                     R"(", "layers": 64, "heads": 1024, "kv_heads": 1024,
                     "units": [)";
  for (int i = 0; i < 65; ++i) {
    text += R"({"layers": "all", "kv_heads": "all", "policy": "full"},)";
  }
  text.back() = ']';
  EXPECT_EQ(ErrorOf(text + "}"),
            "units[64]: the rules so far name 4259840 entries; the limit is "
            "4194304");
}

// tests/conformance/head_plan_schema_test.py holds the schema to the same
// table.
TEST(HeadPlanTextTest, AcceptsAndRefusesAsTheTableSays) {
  std::ifstream file(HEADWISE_SOURCE_DIR "/tests/golden/head_plan_texts.json");
  const Json table = Json::parse(file);
  ASSERT_GT(table["cases"].size(), 70u);
  for (const Json& one : table["cases"]) {
    Json text = table["base"];
    text.merge_patch(one["patch"]);
    EXPECT_EQ(ErrorOf(text.dump()), one.value("error", "")) << one["name"];
  }
}

}  // namespace
}  // namespace headwise
