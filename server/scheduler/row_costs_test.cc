#include "server/scheduler/row_costs.h"

#include "gtest/gtest.h"
#include "model/head_plan/test_head_plans.h"

namespace headwise {
namespace {

// Two layers of two units; a row sees 100 positions as fast as its weights.
constexpr KvGeometry kGeometry = {.num_layers = 2,
                                  .num_kv_heads = 2,
                                  .heads_per_kv_head = 1,
                                  .head_dim = 16,
                                  .row_positions = 100};

TEST(RowCostsTest, ARowCostsItsWeightsAndThePositionsItSees) {
  const RowCosts costs(kGeometry);
  EXPECT_DOUBLE_EQ(costs.Of(nullptr, 0), 1.01);
  EXPECT_DOUBLE_EQ(costs.Of(nullptr, 99), 2);
  EXPECT_DOUBLE_EQ(costs.Of(nullptr, 999'999), 10'001);
}

TEST(RowCostsTest, UnitsThatSeeAWindowCostNoMoreAtAnyDepth) {
  HeadPlan plan = FullPlan(2, 2, 2);
  for (int unit : {0, 1, 2}) {
    plan.units[unit] = {
        .kind = PolicyKind::kStreaming, .num_sinks = 20, .window = 80};
  }
  const RowCosts costs(kGeometry);
  EXPECT_DOUBLE_EQ(costs.Of(&plan, 99), 2);
  EXPECT_DOUBLE_EQ(costs.Of(&plan, 9'999), 1 + (3 * 1.0 + 100) / 4);
}

TEST(RowCostsTest, WithoutAttentionRowsCostAlike) {
  KvGeometry geometry = kGeometry;
  geometry.head_dim = 0;
  EXPECT_DOUBLE_EQ(RowCosts(geometry).Of(nullptr, 1'000'000), 1);
  geometry = kGeometry;
  geometry.row_positions = 0;
  EXPECT_DOUBLE_EQ(RowCosts(geometry).Of(nullptr, 1'000'000), 1);
}

TEST(RowCostsTest, RowsFillABudgetButNeverLessThanOne) {
  const RowCosts costs(kGeometry);
  EXPECT_EQ(costs.RowsWithin(nullptr, 0, 512, 10), 9);
  EXPECT_EQ(costs.RowsWithin(nullptr, 0, 512, 201 * 2.01), 200);
  EXPECT_EQ(costs.RowsWithin(nullptr, 0, 4, 10), 4);
  EXPECT_EQ(costs.RowsWithin(nullptr, 900, 512, 100), 9);
  EXPECT_EQ(costs.RowsWithin(nullptr, 1'000'000, 512, 100), 1);
  EXPECT_EQ(costs.RowsWithin(nullptr, 0, 512, 0), 1);
  EXPECT_EQ(costs.RowsWithin(nullptr, 0, 512, 1e30), 512);
}

TEST(RowCostsTest, WhatIsChosenCostsNoMoreThanTheBudget) {
  const RowCosts costs(kGeometry);
  for (int64_t first : {0, 1, 57, 1'000, 12'345}) {
    for (const double budget : {3.0, 50.0, 512.0, 4'000.0}) {
      const int64_t rows = costs.RowsWithin(nullptr, first, 512, budget);
      double sum = 0;
      for (int64_t row = 0; row < rows; ++row) {
        sum += costs.Of(nullptr, first + row);
      }
      if (rows > 1) {
        EXPECT_LE(sum, budget) << first << ", " << budget;
      }
    }
  }
}

}  // namespace
}  // namespace headwise
