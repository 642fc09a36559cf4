#include "server/scheduler/kv_needs.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/head_plan/test_head_plans.h"

namespace headwise {
namespace {

using testing::ElementsAre;

// Two layers of two units, 64 bytes per position in fp16.
constexpr KvGeometry kGeometry = {
    .num_layers = 2, .num_kv_heads = 2, .heads_per_kv_head = 1, .head_dim = 16};
constexpr int64_t kBlock = 64 * 64;

KvNeeds Needs() {
  return KvNeeds(kGeometry, {.unit_rank = {0, 1, 1, 1},
                             .rank_bytes = {3 * kBlock, 7 * kBlock}});
}

TEST(KvNeedsTest, BytesAreOfTheRankThatHoldsTheUnit) {
  EXPECT_THAT(Needs().Reserved(nullptr, {65, 65}),
              ElementsAre(2 * kBlock, 6 * kBlock));
  HeadPlan plan = FullPlan(2, 2, 2);
  plan.units[1].kv_type = PlanKvType::kFp32;
  EXPECT_THAT(Needs().Reserved(&plan, {65, 65}),
              ElementsAre(2 * kBlock, 8 * kBlock));
}

TEST(KvNeedsTest, TheFullestRankBoundsTheContext) {
  EXPECT_EQ(Needs().LongestContext(nullptr), 2 * 64);
  HeadPlan plan = FullPlan(2, 2, 2);
  plan.units[1].kv_type = plan.units[2].kv_type = PlanKvType::kFp32;
  EXPECT_EQ(Needs().LongestContext(&plan), 64);
}

TEST(KvNeedsTest, AForkSharesWholeBlocksOfUnitsThatNeverDrop) {
  HeadPlan stream = FullPlan(2, 2, 2);
  stream.units[3] = {
      .kind = PolicyKind::kStreaming, .num_sinks = 64, .window = 1000};
  const KvExtent extent = {.length = 200, .prompt_len = 200};
  EXPECT_THAT(Needs().ReservedByFork(nullptr, nullptr, 130, extent),
              ElementsAre(2 * kBlock, 6 * kBlock));
  EXPECT_THAT(Needs().ReservedByFork(nullptr, &stream, 130, extent),
              ElementsAre(2 * kBlock, (2 + 2 + 4) * kBlock));
  EXPECT_THAT(Needs().ReservedByFork(&stream, nullptr, 130, extent),
              ElementsAre(2 * kBlock, (2 + 2 + 4) * kBlock));
}

TEST(KvNeedsTest, WithoutAGroupNothingFits) {
  EXPECT_EQ(KvNeeds(kGeometry, {}).LongestContext(nullptr), 0);
  const KvNeeds needs(kGeometry, {.unit_rank = {0, 1, 2, 2}, .rank_bytes = {}});
  EXPECT_THAT(needs.capacity().rank_bytes, ElementsAre(0, 0, 0));
}

}  // namespace
}  // namespace headwise
