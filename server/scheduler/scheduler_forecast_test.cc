// What a request with a deadline is told, and who begins under too much load.

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
using ::testing::Pair;

class SchedulerForecastTest : public SchedulerTest {
 protected:
  EngineRequest Within(absl::Duration time, EngineRequest request) {
    request.deadline = now_ + time;
    return request;
  }
  absl::Status Refusal(EngineRequest request) {
    return scheduler_->Submit(std::move(request), now_).status();
  }
  // A step, of 100 ms.
  void RunStep() {
    ASSERT_THAT(Next(), testing::Not(testing::IsEmpty()));
    now_ += absl::Milliseconds(100);
    Answer();
  }
  // One place; requests of a second each, of which five have ended and as many
  // wait behind one that runs.
  void MakeQueue(int num_waiting) {
    EngineOptions options = Options();
    options.max_running_sequences = 1;
    Use(options);
    for (int i = 0; i < 6; ++i) Submit(Generate(1, 10));
    for (int i = 0; i < 51; ++i) RunStep();
    for (int i = 0; i < num_waiting; ++i) Submit(Generate(1, 10));
    RunStep();
    ASSERT_EQ(Ends().size(), 5u);
    ASSERT_EQ(scheduler_->stats().running, 1);
    ASSERT_EQ(scheduler_->stats().waiting, num_waiting);
  }
};

TEST_F(SchedulerForecastTest, WhatCantBeReadInTimeIsRefusedAtOnce) {
  EngineOptions options = Options();
  options.max_step_tokens = options.prefill_chunk = 128;
  options.kv_capacity = CapacityOf(8192);
  options.max_context_len = 8192;
  Use(options);
  Submit(Within(absl::Nanoseconds(1), Generate(1000, 1)));  // nothing is known
  scheduler_->Cancel(1, now_);
  Submit(Generate(100, 1));
  RunStep();  // a millisecond a row
  const absl::Status refusal =
      Refusal(Within(absl::Milliseconds(499), Generate(1000, 1)));
  EXPECT_EQ(refusal.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(refusal.message(), HasSubstr("in 499 ms"));
  EXPECT_THAT(refusal.message(), HasSubstr("would take 1000 ms"));
  EXPECT_EQ(FactsOf(refusal).reason, "DEADLINE_TOO_SHORT");
  EXPECT_THAT(FactsOf(refusal).numbers,
              ElementsAre(Pair("left_ms", 499), Pair("forecast_ms", 1000)));
  // Workers twice as fast would do it.
  Submit(Within(absl::Milliseconds(500), Generate(1000, 1)));
}

TEST_F(SchedulerForecastTest, WhatWouldWaitTooLongIsToldWhenToComeAgain) {
  MakeQueue(/*num_waiting=*/9);
  const absl::Status refusal =
      Refusal(Within(absl::Seconds(2), Generate(1, 10)));
  EXPECT_EQ(refusal.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(FactsOf(refusal).reason, "QUEUE_TOO_LONG");
  EXPECT_THAT(refusal.message(), HasSubstr("until 10 requests have ended"));
  // Half of the queue's ten seconds.
  EXPECT_NEAR(absl::ToDoubleSeconds(FactsOf(refusal).retry_after), 5, 1);
  Submit(Within(absl::Seconds(6), Generate(1, 10)));
  Submit(Generate(1, 10));  // without a deadline
}

TEST_F(SchedulerForecastTest, TheQueueOfOneTenantIsNotAnothers) {
  MakeQueue(/*num_waiting=*/9);
  EngineRequest request = Within(absl::Seconds(1), Generate(1, 10));
  request.tenant = "calm";
  Submit(request);
  EXPECT_EQ(Refusal(Within(absl::Seconds(1), Generate(1, 10))).code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_F(SchedulerForecastTest, AFullQueueSaysWhenItWillBeHalfAsLong) {
  MakeQueue(/*num_waiting=*/14);
  const absl::Status refusal = Refusal(Generate(1, 10));
  EXPECT_EQ(FactsOf(refusal).reason, "QUEUE_FULL");
  EXPECT_NEAR(absl::ToDoubleSeconds(FactsOf(refusal).retry_after), 7, 1);
}

TEST_F(SchedulerForecastTest, NoQueueStandsOnceAllHaveBegun) {
  MakeQueue(/*num_waiting=*/3);
  scheduler_->CancelAll(now_);
  RunAll();
  Submit(Within(absl::Milliseconds(200), Generate(1, 1)));
}

TEST_F(SchedulerForecastTest, WhatIsLateLetsOthersPass) {
  MakeQueue(/*num_waiting=*/0);
  const uint64_t late =
      Submit(Within(absl::Milliseconds(1500), Generate(1, 10)));
  const uint64_t in_time = Submit(Within(absl::Seconds(9), Generate(1, 10)));
  while (Ends().empty()) RunStep();  // 800 ms
  EXPECT_EQ(Next().at(0), std::to_string(in_time) + "@0+1*");
  now_ += absl::Seconds(1);
  Answer();
  scheduler_->Expire(now_);
  EXPECT_THAT(Ends(),
              ElementsAre(Pair(late, absl::StatusCode::kDeadlineExceeded)));
}

TEST_F(SchedulerForecastTest, WhatIsLateRunsIfNobodyElseWaits) {
  MakeQueue(/*num_waiting=*/0);
  const uint64_t late =
      Submit(Within(absl::Milliseconds(1500), Generate(1, 10)));
  while (Ends().empty()) RunStep();
  EXPECT_EQ(Next().at(0), std::to_string(late) + "@0+1*");
}

// Where all would be late, the one that came last has a chance.
TEST_F(SchedulerForecastTest, OfThoseThatAreLateTheLeastLateBegins) {
  MakeQueue(/*num_waiting=*/0);
  Submit(Within(absl::Milliseconds(1500), Generate(1, 10)));
  Submit(Within(absl::Milliseconds(1700), Generate(1, 10)));
  const uint64_t least =
      Submit(Within(absl::Milliseconds(1800), Generate(1, 10)));
  Submit(Within(absl::Milliseconds(1600), Generate(1, 10)));
  while (Ends().empty()) RunStep();
  EXPECT_EQ(Next().at(0), std::to_string(least) + "@0+1*");
}

TEST_F(SchedulerForecastTest, WithoutAGroupNothingIsForecast) {
  MakeQueue(/*num_waiting=*/9);
  scheduler_->Suspend(absl::UnavailableError("gone"), GroupEnd::kLost, now_);
  Submit(Within(absl::Milliseconds(1), Generate(1, 10)));
}

}  // namespace
}  // namespace headwise
