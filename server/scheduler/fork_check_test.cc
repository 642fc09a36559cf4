#include "server/scheduler/fork_check.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/head_plan/test_head_plans.h"

namespace headwise {
namespace {

using testing::HasSubstr;

HeadPlan PlanOf(const UnitPolicy& second_unit) {
  HeadPlan plan = FullPlan(1, 2, 2);
  plan.units[1] = second_unit;
  return plan;
}

std::string Check(const HeadPlan* from, const HeadPlan* to,
                  int64_t shared_len = 500) {
  return std::string(CheckFork({.from = from,
                                .to = to,
                                .shared_len = shared_len,
                                .prompt_len = shared_len + 10})
                         .message());
}

const UnitPolicy kStream = {
    .kind = PolicyKind::kStreaming, .num_sinks = 64, .window = 128};
const UnitPolicy kRazor = {.kind = PolicyKind::kRazor,
                           .num_sinks = 64,
                           .window = 128,
                           .full_prompt = false};

TEST(CheckForkTest, AFullPrefixMayGoOnUnderWhatKeepsLess) {
  const HeadPlan full = PlanOf({});
  const HeadPlan stream = PlanOf(kStream);
  const HeadPlan razor = PlanOf(kRazor);
  EXPECT_EQ(Check(nullptr, nullptr), "");
  EXPECT_EQ(Check(nullptr, &stream), "");
  EXPECT_EQ(Check(&full, &razor), "");
  EXPECT_EQ(Check(&stream, &stream), "");
}

TEST(CheckForkTest, WhatIsDroppedIsGone) {
  const HeadPlan stream = PlanOf(kStream);
  const HeadPlan razor = PlanOf(kRazor);
  UnitPolicy wider = kStream;
  wider.window = 256;
  const HeadPlan wide = PlanOf(wider);
  EXPECT_EQ(Check(&stream, nullptr),
            "fork_from: layer 0, kv_head 1 has dropped positions from 64 on, "
            "which the fork needs");
  EXPECT_EQ(Check(&stream, nullptr, /*shared_len=*/100), "");
  EXPECT_THAT(Check(&stream, &wide), HasSubstr("dropped positions"));
  EXPECT_EQ(Check(&wide, &stream), "");
  EXPECT_THAT(Check(&stream, &razor), HasSubstr("dropped positions"));
  EXPECT_THAT(Check(&razor, &razor), HasSubstr("dropped positions"))
      << "its prompt is longer";
}

TEST(CheckForkTest, StorageMustBeTheSame) {
  const HeadPlan int8 = PlanOf({.kv_type = PlanKvType::kInt8});
  const HeadPlan fp16 = PlanOf({.kv_type = PlanKvType::kFp16});
  const HeadPlan chunks = PlanOf(
      {.kind = PolicyKind::kLongHeads, .chunk_len = 64, .num_chunks = 3});
  EXPECT_THAT(Check(nullptr, &int8), HasSubstr("stored otherwise"));
  EXPECT_EQ(Check(nullptr, &fp16), "") << "the server's own type";
  EXPECT_THAT(Check(nullptr, &chunks), HasSubstr("stored otherwise"));
  EXPECT_EQ(Check(&chunks, &chunks), "");
  HeadPlan landmark =
      PlanOf({.kind = PolicyKind::kLandmark, .chunk_len = 64, .num_chunks = 3});
  EXPECT_EQ(Check(nullptr, &landmark), "");
  for (UnitPolicy& unit : landmark.units) unit.slot_positions = true;
  EXPECT_THAT(Check(nullptr, &landmark), HasSubstr("stored otherwise"));
  EXPECT_EQ(Check(&chunks, &landmark), "");
  EXPECT_THAT(Check(&landmark, &chunks), HasSubstr("stored otherwise"));
}

}  // namespace
}  // namespace headwise
