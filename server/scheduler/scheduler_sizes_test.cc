// What the scheduler says of sizes, and that admission then does the same.

#include "gmock/gmock.h"
#include "server/scheduler/scheduler_fixture.h"

namespace headwise {
namespace {

using testing::HasSubstr;
using Verdict = SizeAnswer::Verdict;

class SchedulerSizesTest : public SchedulerTest {
 protected:
  SizeAnswer Ask(int64_t prompt_tokens, int64_t max_new_tokens) {
    const auto answer = scheduler_->AskSize(
        {.prompt_tokens = prompt_tokens, .max_new_tokens = max_new_tokens});
    EXPECT_TRUE(answer.ok()) << answer.status();
    return answer.value_or(SizeAnswer());
  }
};

TEST_F(SchedulerSizesTest, WhatFitsNowRunsNow) {
  Use(Options());
  const SizeAnswer answer = Ask(10, 5);
  EXPECT_EQ(answer.verdict, Verdict::kNow);
  EXPECT_GT(answer.needed_bytes, 0);
  EXPECT_LE(answer.needed_bytes, answer.available_bytes);
  EXPECT_EQ(answer.longest_context, 1024);
  EXPECT_EQ(answer.reason, "");
  Submit(Generate(10, 5));
  EXPECT_FALSE(Next().empty());
}

TEST_F(SchedulerSizesTest, NeverIsWhatAdmissionRefuses) {
  EngineOptions options = Options();
  options.kv_capacity = CapacityOf(128);
  Use(options);
  EXPECT_EQ(Ask(100, 28).verdict, Verdict::kNow);
  const SizeAnswer answer = Ask(100, 29);
  EXPECT_EQ(answer.verdict, Verdict::kNever);
  EXPECT_GT(answer.needed_bytes, answer.available_bytes);
  EXPECT_EQ(answer.longest_context, 128);
  EXPECT_THAT(answer.reason, HasSubstr("context that fits is 128 tokens"));
  EXPECT_TRUE(scheduler_->Submit(Generate(100, 28), now_).ok());
  EXPECT_EQ(scheduler_->Submit(Generate(100, 29), now_).status().code(),
            absl::StatusCode::kOutOfRange);
  // Saturates.
  EXPECT_EQ(Ask(int64_t{1} << 62, int64_t{1} << 62).verdict, Verdict::kNever);
  EXPECT_EQ(Ask(1025, 0).verdict, Verdict::kNever);
}

TEST_F(SchedulerSizesTest, LaterIsWhatWouldWaitForMemory) {
  EngineOptions options = Options();
  options.kv_capacity = CapacityOf(128);
  Use(options);
  Submit(Generate(60, 4));
  EXPECT_FALSE(Next().empty());
  EXPECT_EQ(Ask(60, 4).verdict, Verdict::kNow);
  const SizeAnswer answer = Ask(100, 28);
  EXPECT_EQ(answer.verdict, Verdict::kLater);
  EXPECT_EQ(answer.retry_after, kAskAgainLater);
  EXPECT_LT(answer.available_bytes, answer.needed_bytes);
  EXPECT_THAT(answer.reason, HasSubstr("are not promised to others now"));
}

TEST_F(SchedulerSizesTest, LaterIsWhatWouldWaitForAPlaceOrBehindOthers) {
  EngineOptions options = Options();
  options.max_running_sequences = 1;
  Use(options);
  Submit(Generate(10, 5));
  EXPECT_FALSE(Next().empty());
  EXPECT_EQ(Ask(1, 1).verdict, Verdict::kLater);
  EXPECT_THAT(Ask(1, 1).reason, HasSubstr("1 requests run, 1 may"));
  Submit(Generate(10, 5));
  EXPECT_THAT(Ask(1, 1).reason, HasSubstr("1 requests wait before it"));
  EXPECT_EQ(Ask(1, 1).retry_after, kAskAgainSoon);
}

TEST_F(SchedulerSizesTest, ErrorsAreSubmits) {
  Use(Options());
  EXPECT_EQ(scheduler_->AskSize({}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(scheduler_->AskSize({.prompt_tokens = 1, .max_new_tokens = -1})
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(scheduler_
                ->AskSize({.prompt_tokens = 1,
                           .plan = std::make_shared<const HeadPlan>()})
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
  scheduler_->Suspend(absl::UnavailableError("lost"), GroupEnd::kLost, now_);
  EXPECT_EQ(scheduler_->AskSize({.prompt_tokens = 1}).status().code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace headwise
