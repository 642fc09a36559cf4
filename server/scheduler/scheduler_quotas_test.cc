// What a tenant's quota does to its requests, and to nobody else's.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/error_facts.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/scheduler/scheduler_fixture.h"

namespace headwise {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

EngineRequest Of(const std::string& tenant, EngineRequest request) {
  request.tenant = tenant;
  return request;
}

class SchedulerQuotasTest : public SchedulerTest {
 protected:
  void Limit(const TenantQuota& quota) {
    EngineOptions options = Options();
    options.quotas.named["flood"] = quota;
    Use(options);
  }
  absl::Status Refusal(EngineRequest request) {
    const absl::Status status =
        scheduler_->Submit(std::move(request), now_).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_EQ(FactsOf(status).reason, "TENANT_QUOTA");
    EXPECT_EQ(FactsOf(status).quota_subject, "tenant:flood");
    EXPECT_GT(FactsOf(status).retry_after, absl::ZeroDuration());
    return status;
  }
};

TEST_F(SchedulerQuotasTest, NoMoreRunThanItMayAndOthersPass) {
  Limit({.max_running = 2});
  for (int i = 0; i < 4; ++i) Submit(Of("flood", Generate(1, 50)));
  Submit(Of("calm", Generate(1, 50)));  // 5
  EXPECT_THAT(Next(), ElementsAre("1@0+1*", "2@0+1*", "5@0+1*"));
  Answer();
  scheduler_->Cancel(1, now_);
  EXPECT_THAT(Next(), ElementsAre("2@1+1*", "5@1+1*", "3@0+1*", "free 1"));
}

TEST_F(SchedulerQuotasTest, NoMoreWaitThanItMay) {
  Limit({.max_running = 1, .max_waiting = 2});
  Submit(Of("flood", Generate(1, 50)));
  Next();
  for (int i = 0; i < 2; ++i) Submit(Of("flood", Generate(1, 50)));
  EXPECT_THAT(Refusal(Of("flood", Generate(1, 50))).message(),
              HasSubstr("\"flood\": waiting is 3, at most 2"));
  for (int i = 0; i < 5; ++i) Submit(Of("calm", Generate(1, 50)));
}

TEST_F(SchedulerQuotasTest, KvIsCountedOfWhatRunsAndOfWhatIsHeld) {
  Limit({.max_kv_bytes = 64 * 100 * 3});  // three blocks
  EXPECT_THAT(Refusal(Of("flood", Generate(200, 1))).message(),
              HasSubstr("kv_bytes is 25600, at most 19200"));
  for (int i = 0; i < 4; ++i) Submit(Of("flood", Generate(10, 20)));
  EXPECT_EQ(Next().size(), 3u);
  scheduler_->CancelAll(now_);
  RunAll();
  Ends();
  EngineRequest prefix = Of("flood", Generate(100, 0));  // two blocks
  prefix.kind = WorkKind::kPrefix;
  const uint64_t held = Submit(prefix);
  RunAll();
  EXPECT_THAT(Refusal(Of("flood", Generate(100, 1))).message(),
              HasSubstr("kv_bytes is 25600, at most 19200"));
  Submit(Of("flood", Generate(10, 1)));
  scheduler_->Release(held, now_);
  Submit(Of("flood", Generate(100, 1)));
}

TEST_F(SchedulerQuotasTest, IdlePrefixesOfTheTenantGiveWay) {
  Limit({.max_kv_bytes = 64 * 100 * 3});  // three blocks
  EngineRequest prefix = Of("flood", Generate(100, 0));
  prefix.kind = WorkKind::kPrefix;
  prefix.may_evict = true;
  const uint64_t held = Submit(prefix);
  RunAll();
  const uint64_t whole = Submit(Of("flood", Generate(100, 1)));
  RunAll();
  EXPECT_EQ(scheduler_->stats().evicted, 1);
  EngineRequest fork = Of("flood", Generate(100, 1));
  fork.fork_from = held;
  EXPECT_THAT(Refusal(fork).message(),
              HasSubstr("kv_bytes is 32000, at most 19200"))
      << "with the prefix, which would come back";
  fork = Of("flood", Generate(10, 1));
  fork.fork_from = held;
  const uint64_t again = Submit(fork);
  RunAll();
  EXPECT_THAT(Ends(), ElementsAre(std::pair(held, absl::StatusCode::kOk),
                                  std::pair(whole, absl::StatusCode::kOk),
                                  std::pair(again, absl::StatusCode::kOk)));
}

TEST_F(SchedulerQuotasTest, TokensAreOfPromptsAndAnswers) {
  Limit({.tokens_per_second = 10, .burst_tokens = 25});
  Submit(Of("flood", Generate(20, 10)));
  Submit(Of("flood", Generate(1, 1)));
  RunAll();  // 21 of prompts and 11 of answers
  EXPECT_THAT(Refusal(Of("flood", Generate(1, 1))).message(),
              HasSubstr("-7 tokens are left, 10 come a second"));
  Submit(Of("calm", Generate(100, 10)));
  now_ += absl::Milliseconds(799);
  EXPECT_FALSE(Refusal(Of("flood", Generate(1, 1))).ok());
  now_ += absl::Milliseconds(1);
  Submit(Of("flood", Generate(1, 1)));
}

TEST_F(SchedulerQuotasTest, ARefusalTakesNothing) {
  Limit({.max_waiting = 1, .tokens_per_second = 10, .burst_tokens = 25});
  Submit(Of("flood", Generate(10, 1)));
  EXPECT_FALSE(Refusal(Of("flood", Generate(20, 1))).ok());
  Next();
  Submit(Of("flood", Generate(14, 1)));
}

TEST_F(SchedulerQuotasTest, ThoseThatAreNotNamedHaveEachTheSame) {
  EngineOptions options = Options();
  options.quotas.of_others.max_running = 1;
  Use(options);
  for (const char* tenant : {"a", "a", "b", "b"}) {
    Submit(Of(tenant, Generate(1, 50)));
  }
  EXPECT_THAT(Next(), ElementsAre("1@0+1*", "3@0+1*"));
}

}  // namespace
}  // namespace headwise
