#include "server/scheduler/tenant_quotas.h"

#include <limits>
#include <string>

#include "base/error_facts.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr absl::Time kBegin = absl::UnixEpoch();
constexpr TenantQuota kTenASecond = {.tokens_per_second = 10,
                                     .burst_tokens = 50};

TEST(TokenBucketsTest, ABurstIsFreeAndThenTheRateHolds) {
  TokenBuckets buckets;
  EXPECT_EQ(buckets.TokensLeft("a", kTenASecond, kBegin), 50);
  buckets.Take("a", kTenASecond, 49, kBegin);
  EXPECT_EQ(buckets.TokensLeft("a", kTenASecond, kBegin), 1);
  const absl::Time later = kBegin + absl::Milliseconds(500);
  EXPECT_EQ(buckets.TokensLeft("a", kTenASecond, later), 6);
  EXPECT_EQ(buckets.TokensLeft("b", kTenASecond, later), 50);
}

TEST(TokenBucketsTest, ATenantMayOwe) {
  TokenBuckets buckets;
  buckets.Take("a", kTenASecond, 150, kBegin);
  EXPECT_EQ(buckets.TokensLeft("a", kTenASecond, kBegin), -100);
  EXPECT_EQ(buckets.TokensLeft("a", kTenASecond, kBegin + absl::Seconds(10)),
            0);
}

TEST(TokenBucketsTest, APauseFillsItToTheBurstAndNoFurther) {
  TokenBuckets buckets;
  buckets.Take("a", kTenASecond, 50, kBegin);
  const absl::Time later = kBegin + absl::Hours(1);
  buckets.Take("a", kTenASecond, 20, later);
  EXPECT_EQ(buckets.TokensLeft("a", kTenASecond, later), 30);
}

TEST(TokenBucketsTest, OverAnyTimeNobodyHasMoreThanRateAndBurst) {
  TokenBuckets buckets;
  absl::Time now = kBegin;
  int64_t taken = 0;
  for (int i = 0; i < 10'000; ++i) {
    now += absl::Milliseconds(7);
    if (buckets.TokensLeft("a", kTenASecond, now) < 1) continue;
    buckets.Take("a", kTenASecond, 1, now);
    ++taken;
  }
  const double allowed = 50 + 10 * absl::ToDoubleSeconds(now - kBegin);
  EXPECT_LE(static_cast<double>(taken), allowed);
  EXPECT_GE(static_cast<double>(taken), allowed - 2);
}

TEST(TokenBucketsTest, TenantsWithoutABucketOfTheirOwnShareOne) {
  TokenBuckets buckets;
  for (size_t i = 0; i < kMaxTokenBuckets; ++i) {
    buckets.Take("t" + std::to_string(i), kTenASecond, 100, kBegin);
  }
  buckets.Take("x", kTenASecond, 50, kBegin);
  EXPECT_EQ(buckets.TokensLeft("y", kTenASecond, kBegin), 0);
  EXPECT_EQ(buckets.size(), kMaxTokenBuckets + 1);
  // Full ones are forgotten.
  const absl::Time later = kBegin + absl::Hours(1);
  buckets.Take("y", kTenASecond, 1, later);
  EXPECT_EQ(buckets.size(), 1u);
  EXPECT_EQ(buckets.TokensLeft("y", kTenASecond, later), 49);
}

TEST(TokenBucketsTest, WithoutARateNothingIsKept) {
  TokenBuckets buckets;
  buckets.Take("a", {}, 1'000'000, kBegin);
  EXPECT_GT(buckets.TokensLeft("a", {}, kBegin), 1e18);
  EXPECT_EQ(buckets.size(), 0u);
}

TEST(TenantQuotasTest, WhoIsNotNamedHasThatOfOthers) {
  TenantQuotas quotas = {.of_others = {.max_running = 2}};
  quotas.named["a"] = {.max_running = 5};
  EXPECT_EQ(quotas.Of("a").max_running, 5);
  EXPECT_EQ(quotas.Of("").max_running, 2);
}

TEST(TenantQuotasTest, BadNumbersAreNamed) {
  EXPECT_TRUE(CheckTenantQuotas({}).ok());
  TenantQuotas quotas;
  quotas.named["a"] = {.max_waiting = -1};
  EXPECT_THAT(CheckTenantQuotas(quotas).message(),
              HasSubstr("tenant a: max_waiting is -1"));
  quotas.named["a"] = {.tokens_per_second = 5};
  EXPECT_THAT(CheckTenantQuotas(quotas).message(),
              HasSubstr("burst_tokens is 0, must be 1 or more"));
  quotas = {.of_others = {.tokens_per_second =
                              std::numeric_limits<double>::quiet_NaN()}};
  EXPECT_THAT(CheckTenantQuotas(quotas).message(), HasSubstr("others"));
}

TEST(TenantQuotasTest, ARefusalNamesTenantValueAndLimit) {
  const absl::Status status =
      QuotaReached("a", "waiting", 4, 3, absl::Seconds(2));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "quota of tenant \"a\": waiting is 4, at most 3");
  const ErrorFacts facts = FactsOf(status);
  EXPECT_EQ(facts.reason, "TENANT_QUOTA");
  EXPECT_EQ(facts.quota_subject, "tenant:a");
  EXPECT_THAT(facts.numbers, ElementsAre(Pair("waiting", 4), Pair("limit", 3)));
  EXPECT_EQ(facts.retry_after, absl::Seconds(2));
}

TEST(TenantQuotasTest, WhoOwesIsToldUntilWhen) {
  const absl::Status status = TokensUsedUp("a", kTenASecond, -100);
  EXPECT_EQ(status.message(),
            "quota of tenant \"a\": -100 tokens are left, 10 come a second, 1 "
            "is needed to begin");
  const ErrorFacts facts = FactsOf(status);
  EXPECT_EQ(facts.quota_subject, "tenant:a");
  EXPECT_EQ(facts.retry_after, absl::Milliseconds(10100));
}

}  // namespace
}  // namespace headwise
