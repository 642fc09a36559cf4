#include "model/head_plan/head_plan_diff.h"

#include "gtest/gtest.h"
#include "model/head_plan/head_plan_check.h"
#include "model/head_plan/test_head_plans.h"

namespace headwise {
namespace {

TEST(DiffHeadPlansTest, NamesEachUnitAndHeadThatDiffers) {
  const HeadPlan before = FullPlan(4, 6, 3);
  HeadPlan after = before;
  after.units[10].kv_type = PlanKvType::kInt8;
  after.heads[23].output_scale = 0.5f;
  after.origin = "other words";
  const absl::StatusOr<HeadPlanDiff> diff = DiffHeadPlans(before, after);
  ASSERT_TRUE(diff.ok());
  EXPECT_FALSE(diff->is_other_model);
  ASSERT_EQ(diff->units.size(), 1u);
  EXPECT_EQ(diff->units[0].layer, 3);
  EXPECT_EQ(diff->units[0].kv_head, 1);
  EXPECT_EQ(diff->units[0].before, UnitPolicy{});
  EXPECT_EQ(diff->units[0].after.kv_type, PlanKvType::kInt8);
  ASSERT_EQ(diff->heads.size(), 1u);
  EXPECT_EQ(diff->heads[0].layer, 3);
  EXPECT_EQ(diff->heads[0].head, 5);
  EXPECT_EQ(diff->heads[0].after.output_scale, 0.5f);
}

TEST(DiffHeadPlansTest, EqualPlansDifferInNothing) {
  HeadPlan other = EveryFieldPlan();
  const HeadPlanDiff same = *DiffHeadPlans(EveryFieldPlan(), other);
  EXPECT_TRUE(same.units.empty() && same.heads.empty());
  EXPECT_FALSE(same.is_other_model);
  other.model_sha256[0] = 'b';
  EXPECT_TRUE(DiffHeadPlans(EveryFieldPlan(), other)->is_other_model);
}

TEST(DiffHeadPlansTest, OtherShapesAreNamed) {
  EXPECT_EQ(
      DiffHeadPlans(FullPlan(4, 6, 3), FullPlan(4, 6, 2)).status().message(),
      "the plans are for other shapes: 4 layers of 6 heads in 3 KV "
      "heads; 4 layers of 6 heads in 2 KV heads");
}

TEST(FirstDifferentLayerTest, IsThatOfTheFirstUnitOrHeadThatChanges) {
  const HeadPlan full = FullHeadPlan(3, 4, 2);
  EXPECT_EQ(FirstDifferentLayer(full, full), 3);
  HeadPlan other = full;
  other.heads[11].mask = HeadMask::kUniform;
  EXPECT_EQ(FirstDifferentLayer(full, other), 2);
  other.units[2].kv_type = PlanKvType::kInt8;
  EXPECT_EQ(FirstDifferentLayer(full, other), 1);
  other.heads[3].output_scale = 0.5f;
  EXPECT_EQ(FirstDifferentLayer(other, full), 0);
}

}  // namespace
}  // namespace headwise
