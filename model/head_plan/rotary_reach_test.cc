#include "model/head_plan/rotary_reach.h"

#include "gtest/gtest.h"

namespace headwise {
namespace {

HeadPlan PlanOf(const std::vector<UnitPolicy>& units) {
  HeadPlan plan;
  plan.units = units;
  return plan;
}

TEST(RotaryReachTest, PlanThatRenumbersEverythingHasNoLimit) {
  UnitPolicy chunks;
  chunks.kind = PolicyKind::kLongHeads;
  chunks.chunk_len = 256;
  chunks.num_chunks = 8;
  UnitPolicy slots;
  slots.kind = PolicyKind::kStreaming;
  slots.num_sinks = 4;
  slots.window = 1020;
  slots.slot_positions = true;
  UnitPolicy landmark = chunks;
  landmark.kind = PolicyKind::kLandmark;
  landmark.num_chunks = 7;
  EXPECT_EQ(LongestContext(PlanOf({landmark}), 8192), 8192);
  landmark.slot_positions = true;
  EXPECT_EQ(RotaryReach(landmark), 2048) << "one more for all older chunks";
  EXPECT_EQ(LongestContext(PlanOf({landmark}), 2048), kLongestContext);
  EXPECT_EQ(RotaryReach(chunks), 2048);
  EXPECT_EQ(RotaryReach(slots), 1024);
  EXPECT_EQ(LongestContext(PlanOf({chunks, slots}), 2048), kLongestContext);
  EXPECT_EQ(LongestContext(PlanOf({chunks, slots}), 2047), 2047);
}

TEST(RotaryReachTest, OneUnitAtTruePositionsKeepsTheModelsLimit) {
  UnitPolicy slots;
  slots.kind = PolicyKind::kStreaming;
  slots.window = 64;
  slots.slot_positions = true;
  UnitPolicy at_true_positions = slots;
  at_true_positions.slot_positions = false;
  EXPECT_EQ(LongestContext(PlanOf({slots, at_true_positions}), 8192), 8192);
  EXPECT_EQ(LongestContext(PlanOf({slots, UnitPolicy()}), 8192), 8192);
  EXPECT_EQ(LongestContext(HeadPlan(), 8192), 8192);
}

}  // namespace
}  // namespace headwise
