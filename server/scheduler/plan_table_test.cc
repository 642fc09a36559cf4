#include "server/scheduler/plan_table.h"

#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/head_plan/test_head_plans.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::shared_ptr<const HeadPlan> Plan(float scale) {
  HeadPlan plan = FullPlan(1, 2, 1);
  plan.heads[0].output_scale = scale;
  return std::make_shared<const HeadPlan>(plan);
}

std::vector<uint64_t> Sent(PlanTable& table, uint64_t plan_id) {
  Step step;
  table.AddTo(step, plan_id);
  std::vector<uint64_t> ids;
  for (const NumberedPlan& plan : step.plans) ids.push_back(plan.plan_id);
  return ids;
}

std::vector<uint64_t> Drops(PlanTable& table) {
  Step step;
  table.AddDropsTo(step);
  return step.drop_plan_ids;
}

TEST(PlanTableTest, EqualContentHasOneNumberAndTravelsOnce) {
  PlanTable table;
  EXPECT_EQ(table.Acquire(nullptr), 0u);
  EXPECT_THAT(Sent(table, 0), IsEmpty());
  const uint64_t id = table.Acquire(Plan(2)).value();
  EXPECT_NE(id, 0u);
  EXPECT_THAT(Sent(table, id), ElementsAre(id));
  EXPECT_EQ(table.Acquire(Plan(2)), id);
  EXPECT_THAT(Sent(table, id), IsEmpty());
  EXPECT_NE(table.Acquire(Plan(3)), id);
  HeadPlan renamed = *Plan(2);
  renamed.origin = "another file";
  EXPECT_EQ(table.Acquire(std::make_shared<const HeadPlan>(renamed)), id);
}

TEST(PlanTableTest, TheLongestUnusedMakesRoom) {
  PlanTable table;
  std::vector<uint64_t> ids;
  for (int i = 0; i < kMaxPlans; ++i) {
    ids.push_back(table.Acquire(Plan(static_cast<float>(i))).value());
    Sent(table, ids.back());
  }
  EXPECT_EQ(table.Acquire(Plan(1000)), std::nullopt) << "all are in use";
  table.Release(ids[5]);
  table.Release(ids[3]);
  table.Release(ids[4]);
  EXPECT_EQ(table.Acquire(Plan(5)), ids[5]) << "still known";
  table.Release(ids[5]);
  EXPECT_THAT(Drops(table), IsEmpty());
  const uint64_t next = table.Acquire(Plan(1000)).value();
  EXPECT_THAT(Drops(table), ElementsAre(ids[3]));
  EXPECT_THAT(Drops(table), IsEmpty());
  EXPECT_GT(next, ids.back());
  EXPECT_EQ(table.num_plans(), kMaxPlans);
}

TEST(PlanTableTest, APlanThatWasNeverSentNeedsNoDrop) {
  PlanTable table;
  for (int i = 0; i < kMaxPlans; ++i) {
    table.Release(table.Acquire(Plan(static_cast<float>(i))).value());
  }
  EXPECT_TRUE(table.Acquire(Plan(1000)).has_value());
  EXPECT_THAT(Drops(table), IsEmpty());
}

TEST(PlanTableTest, APlanOfAFailedStepIsDroppedTooAsItMayBeKnown) {
  PlanTable table;
  const uint64_t id = table.Acquire(Plan(0)).value();
  Sent(table, id);
  table.OnStepFailed({id}, {});
  table.Release(id);
  for (int i = 1; i <= kMaxPlans; ++i) {
    ASSERT_TRUE(table.Acquire(Plan(static_cast<float>(i))).has_value());
  }
  EXPECT_THAT(Drops(table), ElementsAre(id));
}

TEST(PlanTableTest, WhatAFailedStepCarriedIsToldAgain) {
  PlanTable table;
  const uint64_t id = table.Acquire(Plan(2)).value();
  Sent(table, id);
  table.OnStepFailed({id, 77}, {78});  // 77 has gone meanwhile
  EXPECT_THAT(Sent(table, id), ElementsAre(id));
  EXPECT_THAT(Drops(table), ElementsAre(77, 78));
}

}  // namespace
}  // namespace headwise
