#include "server/frontends/plan_store.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/head_plan/head_plan_hash.h"
#include "model/head_plan/rotary_reach.h"
#include "model/head_plan/test_head_plans.h"

namespace headwise {
namespace {

using testing::HasSubstr;

Hyperparameters Hyper() {
  Hyperparameters hyper = TinyHyperparameters(2, 4, 2);
  hyper.max_context_len = 1024;
  return hyper;
}

// Plans of one shape that differ by `window`.
HeadPlan Streaming(int64_t window, bool slot_positions = false) {
  HeadPlan plan = FullPlan(2, 4, 2);
  for (UnitPolicy& unit : plan.units) {
    unit = {.kind = PolicyKind::kStreaming,
            .window = window,
            .slot_positions = slot_positions};
  }
  return plan;
}

class PlanStoreTest : public testing::Test {
 protected:
  // A plan that is found under `name`.
  std::string Found(const std::string& name) {
    const auto found = store_.Find(name);
    return found.ok() ? found->hash : std::string(found.status().message());
  }

  PlanStore store_{Hyper(), KvType::kFp16};
};

TEST_F(PlanStoreTest, APlanIsFoundByItsHashAndByAPrefix) {
  const auto put = store_.Put(Streaming(64));
  ASSERT_TRUE(put.ok()) << put.status();
  EXPECT_EQ(put->hash, HeadPlanHash(Streaming(64)));
  EXPECT_EQ(Found(put->hash), put->hash);
  EXPECT_EQ(Found(put->hash.substr(0, 8)), put->hash);
  EXPECT_THAT(Found(put->hash.substr(0, 7)), HasSubstr("8 to 64 hexadecimal"));
  EXPECT_THAT(Found(put->hash + "0"), HasSubstr("8 to 64 hexadecimal"));
  EXPECT_THAT(Found("ABCDEF0123"), HasSubstr("is no name of a plan"));
  EXPECT_EQ(store_.Find("0123456789").status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(Found("full"), "full");
}

TEST_F(PlanStoreTest, APlanIsDescribed) {
  const auto streaming = store_.Put(Streaming(64));
  ASSERT_TRUE(streaming.ok());
  EXPECT_EQ(streaming->longest_context_len, 1024);  // true positions
  EXPECT_EQ(streaming->num_full_units, 0);
  EXPECT_EQ(streaming->num_units, 4);
  // One or two of 16 blocks, as 64 positions need not begin with a block.
  EXPECT_LE(streaming->kv_share, 2.0 / 16);
  const auto endless = store_.Put(Streaming(64, /*slot_positions=*/true));
  ASSERT_TRUE(endless.ok());
  EXPECT_EQ(endless->longest_context_len, kLongestContext);
  EXPECT_EQ(store_.Find("full")->kv_share, 1.0);
  EXPECT_EQ(store_.Find("full")->longest_context_len, 1024);
  EXPECT_EQ(store_.Find("full")->plan, nullptr);
}

TEST_F(PlanStoreTest, TheSamePlanIsStoredOnceWithItsFirstOrigin) {
  HeadPlan plan = Streaming(64);
  plan.origin = "first";
  ASSERT_TRUE(store_.Put(plan).ok());
  plan.origin = "second";
  const auto again = store_.Put(plan);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->plan->origin, "first");
  EXPECT_EQ(store_.size(), 1);
}

TEST_F(PlanStoreTest, AFullStoreNamesItsLimitAndKeepsWhatItHas) {
  for (size_t i = 1; i <= kMaxStoredPlans; ++i) {
    ASSERT_TRUE(store_.Put(Streaming(static_cast<int64_t>(i))).ok());
  }
  const absl::Status refused = store_.Put(Streaming(1000)).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("limit 64"));
  EXPECT_TRUE(store_.Put(Streaming(1)).ok());  // is there
  ASSERT_TRUE(store_.Delete(HeadPlanHash(Streaming(1))).ok());
  EXPECT_TRUE(store_.Put(Streaming(1000)).ok());
  EXPECT_EQ(store_.List().size(), kMaxStoredPlans);
}

TEST_F(PlanStoreTest, TheDefaultIsFullUntilOneIsSet) {
  EXPECT_EQ(Found(""), "full");
  const std::string hash = store_.Put(Streaming(64))->hash;
  EXPECT_EQ(store_.SetDefault(hash.substr(0, 10))->hash, "full");
  EXPECT_EQ(Found(""), hash);
  EXPECT_EQ(store_.Delete(hash).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_.SetDefault("01234567").status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(store_.Default().hash, hash);  // unchanged
  EXPECT_EQ(store_.SetDefault("")->hash, hash);
  EXPECT_EQ(Found(""), "full");
  EXPECT_TRUE(store_.Delete(hash).ok());
  EXPECT_EQ(store_.Delete(hash).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_.Delete("full").code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace headwise
