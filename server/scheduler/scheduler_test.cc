#include "server/scheduler/scheduler.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/scheduler/model_workers.h"
#include "server/scheduler/scheduler_fixture.h"

namespace headwise {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST_F(SchedulerTest, OneStreamKeepsTwoStepsInFlightAndEndsInTime) {
  Submit(Generate(20, 4));
  EXPECT_THAT(Next(), ElementsAre("1@0+16"));
  EXPECT_THAT(Next(), ElementsAre("1@16+4*"));
  EXPECT_THAT(Next(), IsEmpty());  // two in flight
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@20+1?*"));
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@21+1?*"));
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@22+1?*"));  // the fourth and last sample
  Answer();
  EXPECT_THAT(Next(), IsEmpty());
  Answer();
  EXPECT_THAT(Ends(), ElementsAre(std::pair(1, absl::StatusCode::kOk)));
  EXPECT_THAT(Next(), ElementsAre("free 1"));
  EXPECT_THAT(scheduler_->stats().kv_bytes_used, ElementsAre(0));
  Answer();
  EXPECT_TRUE(scheduler_->idle());
  EXPECT_EQ(workers_->num_sequences(), 0);
}

TEST_F(SchedulerTest, KnownTokenIsSentAsSuch) {
  Submit(Generate(3, 3));
  Next();
  Answer();
  const int32_t token = ExpectedAnswerOf(Generate(3, 3)).tokens[0];
  EXPECT_THAT(Next(), ElementsAre("1@3+1*"));
  EXPECT_THAT(sent_[0].step.slices[0].tokens, ElementsAre(token));
}

TEST_F(SchedulerTest, DecodeRowsComeFirstAndPromptsShareTheRest) {
  Submit(Generate(5, 9));
  Next();
  Answer();
  Submit(Generate(30, 1));
  Submit(Generate(30, 1));
  EXPECT_THAT(Next(), ElementsAre("1@5+1*", "2@0+16", "3@0+15"));
  EXPECT_THAT(Next(), ElementsAre("1@6+1?*", "2@16+14*", "3@15+15*"));
}

TEST_F(SchedulerTest, EverySequenceIsInEveryStep) {
  for (int i = 0; i < 5; ++i) Submit(Generate(2, 100));
  Next();
  Next();
  for (int i = 0; i < 20; ++i) {
    Answer();
    EXPECT_EQ(Next().size(), 5u);
  }
}

TEST_F(SchedulerTest, NoMoreSequencesRunThanAStepHasRows) {
  EngineOptions options = Options();
  options.max_step_tokens = 3;
  Use(options);
  for (int i = 0; i < 5; ++i) Submit(Generate(1, 50));
  EXPECT_THAT(Next(), ElementsAre("1@0+1*", "2@0+1*", "3@0+1*"));
  EXPECT_THAT(Next(), ElementsAre("1@1+1?*", "2@1+1?*", "3@1+1?*"));
  EXPECT_EQ(scheduler_->stats().running, 3);
  EXPECT_EQ(scheduler_->stats().waiting, 2);
}

TEST_F(SchedulerTest, BigRequestAtTheHeadIsNotOvertaken) {
  EngineOptions options = Options();
  options.kv_capacity = CapacityOf(256);
  Use(options);
  Submit(Generate(10, 100));  // 128 positions
  Submit(Generate(10, 200));  // 256: waits for the first
  Submit(Generate(10, 20));   // 64 would fit
  EXPECT_THAT(Next(), ElementsAre("1@0+10*"));
  EXPECT_THAT(scheduler_->stats().kv_bytes_used, ElementsAre(128 * 100));
  scheduler_->Cancel(1, now_);
  Answer();
  EXPECT_THAT(Next(), ElementsAre("2@0+10*", "free 1"));
  EXPECT_EQ(scheduler_->stats().waiting, 1);
}

TEST_F(SchedulerTest, QueueIsBounded) {
  EngineOptions options = Options();
  options.max_queued_requests = 2;
  Use(options);
  Submit(Generate(1, 1));
  Submit(Generate(1, 1));
  const auto refused = scheduler_->Submit(Generate(1, 1), now_);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(refused.status().message(), testing::HasSubstr("at most 2"));
  Next();  // both run now
  Submit(Generate(1, 1));
}

TEST_F(SchedulerTest, RowInFlightOfAStoppedSequenceIsDropped) {
  EngineRequest request = Generate(3, 10);
  request.stop_tokens = {ExpectedAnswerOf(request).tokens[1]};
  Submit(request);
  Submit(Generate(2, 10));
  Next();
  Next();
  Answer();
  Next();
  Answer();  // the stop token; one more row of it is in flight
  EXPECT_THAT(Ends(), ElementsAre(std::pair(1, absl::StatusCode::kOk)));
  EXPECT_THAT(Next(), ElementsAre("2@4+1?*", "free 1"));
  Answer();  // with the dropped row
  EXPECT_THAT(Ends(), IsEmpty());
  Answer();
  EXPECT_EQ(workers_->num_sequences(), 1);
}

TEST_F(SchedulerTest, CancelDuringTheFirstSliceFreesOnceItHasRun) {
  Submit(Generate(20, 5));
  Next();
  scheduler_->Cancel(1, now_);
  EXPECT_THAT(Ends(), ElementsAre(std::pair(1, absl::StatusCode::kCancelled)));
  EXPECT_THAT(Next(), IsEmpty());
  EXPECT_THAT(scheduler_->stats().kv_bytes_used, ElementsAre(64 * 100));
  Answer();
  EXPECT_THAT(Next(), ElementsAre("free 1"));
  EXPECT_THAT(scheduler_->stats().kv_bytes_used, ElementsAre(0));
  scheduler_->Cancel(1, now_);  // no effect
  EXPECT_THAT(Ends(), IsEmpty());
}

TEST_F(SchedulerTest, ScoreAsksForTheNextTokenOfEveryRow) {
  EngineRequest request = Generate(18, 0);
  request.kind = WorkKind::kScore;
  request.hash_logits = true;
  Submit(request);
  Next();
  Next();
  const Slice& first = sent_[0].step.slices[0];
  const Slice& second = sent_[1].step.slices[0];
  EXPECT_EQ(first.score_targets.front(), 101);
  EXPECT_EQ(first.score_targets.back(), 116);
  EXPECT_THAT(second.score_targets, ElementsAre(117, -1));
  EXPECT_TRUE(first.hash_logits && second.hash_logits);
  EXPECT_FALSE(first.sample || second.sample);
  EXPECT_THAT(Next(), IsEmpty());
}

TEST_F(SchedulerTest, DeadlineEndsWaitingAndRunningRequests) {
  EngineOptions options = Options();
  options.max_running_sequences = 1;
  Use(options);
  for (int i = 0; i < 3; ++i) {
    EngineRequest request = Generate(4, 50);
    request.deadline = kStart + absl::Seconds(3 - i);
    Submit(request);
  }
  EXPECT_EQ(scheduler_->next_deadline(), kStart + absl::Seconds(1));
  Next();
  now_ = kStart + absl::Seconds(2);
  Next();
  EXPECT_THAT(Ends(),
              ElementsAre(std::pair(3, absl::StatusCode::kDeadlineExceeded),
                          std::pair(2, absl::StatusCode::kDeadlineExceeded)));
  now_ += absl::Seconds(1);
  Answer();
  EXPECT_THAT(Next(), ElementsAre("free 1"));
  EXPECT_THAT(Ends(),
              ElementsAre(std::pair(1, absl::StatusCode::kDeadlineExceeded)));
  EXPECT_EQ(scheduler_->next_deadline(), absl::InfiniteFuture());
}

TEST_F(SchedulerTest, UsageTellsTheTimeOfEachStage) {
  EngineOptions options = Options();
  options.max_running_sequences = 1;
  Use(options);
  Submit(Generate(20, 2));
  now_ += absl::Milliseconds(5);
  Next();
  Next();
  now_ += absl::Milliseconds(30);
  Answer();
  Answer();
  Next();
  now_ += absl::Milliseconds(7);
  Answer();
  const SchedulerEvent end = scheduler_->TakeEvents().back();
  ASSERT_EQ(end.kind, SchedulerEvent::Kind::kFinished);
  EXPECT_EQ(end.usage.prompt_tokens, 20);
  EXPECT_EQ(end.usage.generated_tokens, 2);
  EXPECT_EQ(end.usage.queue_time, absl::Milliseconds(5));
  EXPECT_EQ(end.usage.prefill_time, absl::Milliseconds(30));
  EXPECT_EQ(end.usage.decode_time, absl::Milliseconds(7));
}

}  // namespace
}  // namespace headwise
