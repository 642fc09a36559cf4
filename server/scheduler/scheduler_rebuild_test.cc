// What the loss of a group costs requests: a pause, within limits.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/scheduler/scheduler_fixture.h"

namespace headwise {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class SchedulerRebuildTest : public SchedulerTest {
 protected:
  static EngineRequest ForkOf(uint64_t prefix) {
    EngineRequest request = Generate(3, 2);
    request.fork_from = prefix;
    return request;
  }
  void Lose() {
    scheduler_->Suspend(absl::UnavailableError("gone"), GroupEnd::kLost, now_);
  }
  absl::Status EndOf(uint64_t id) {
    for (const SchedulerEvent& event : scheduler_->TakeEvents()) {
      if (event.kind == SchedulerEvent::Kind::kFinished &&
          event.request_id == id) {
        return event.status;
      }
    }
    return absl::UnknownError("it has not ended");
  }
};

TEST_F(SchedulerRebuildTest, WhatWasHeardRunsAgainWithoutAnAnswer) {
  Submit(Generate(20, 9));
  Next();
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@16+4*"));
  EXPECT_THAT(Next(), ElementsAre("1@20+1?*"));
  LoseGroup();  // the prompt's last rows were not heard of
  EXPECT_THAT(Next(), ElementsAre("1@0+16"));
  EXPECT_THAT(Next(), ElementsAre("1@16+4*"));
  Answer();
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@20+1*"));
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@21+1*"));
  LoseGroup();  // two tokens were heard of, the last row was not
  EXPECT_THAT(Next(), ElementsAre("1@0+16"));
  EXPECT_THAT(Next(), ElementsAre("1@16+4"));
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@20+1"));
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@21+1*"));
}

// As a client does that lost its stream, here or at another coordinator.
TEST_F(SchedulerRebuildTest, ReceivedTokensRunWithThePromptWithoutAnAnswer) {
  EngineRequest whole = Generate(4, 5);
  const std::vector<int32_t> answer = ExpectedAnswerOf(whole).tokens;
  whole.received = {answer[0], answer[1], answer[2]};
  const uint64_t id = Submit(whole);
  EXPECT_THAT(Next(), ElementsAre("1@0+4"));
  EXPECT_THAT(Next(), ElementsAre("1@4+2"));
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@6+1*"));
  Answer();
  EXPECT_THAT(scheduler_->TakeEvents(), IsEmpty());
  RunAll();
  std::vector<int32_t> heard;
  for (const SchedulerEvent& event : scheduler_->TakeEvents()) {
    if (event.kind == SchedulerEvent::Kind::kToken) {
      heard.push_back(event.outcome.token);
      continue;
    }
    ASSERT_EQ(event.kind, SchedulerEvent::Kind::kFinished);
    EXPECT_EQ(event.request_id, id);
    EXPECT_EQ(event.usage.generated_tokens, 5);
    EXPECT_EQ(event.usage.received_tokens, 3);
  }
  EXPECT_THAT(heard, ElementsAre(answer[3], answer[4]));
}

// As a session does that its coordinator read from its books.
TEST_F(SchedulerRebuildTest, HeldTokensRunWithTheirFirstFork) {
  const uint64_t prefix = scheduler_->HoldTokens({7, 8, 9, 10}, nullptr, "");
  EXPECT_THAT(Next(), IsEmpty()) << "nothing needs them yet";
  const uint64_t fork = Submit(ForkOf(prefix));
  EXPECT_THAT(Next(), ElementsAre(absl::StrCat(prefix, "@0+4")));
  Answer();
  EXPECT_THAT(Next(), ElementsAre(absl::StrCat(fork, "@4+3*")));
  RunAll();
  EXPECT_EQ(EndOf(fork), absl::OkStatus());
  scheduler_->Release(prefix, now_);
  RunAll();
  EXPECT_THAT(scheduler_->stats().kv_bytes_used, ElementsAre(0));
}

TEST_F(SchedulerRebuildTest, AnAnswerThatIsWholeIsNotReceived) {
  EngineRequest request = Generate(4, 2);
  request.received = {1, 2};
  EXPECT_TRUE(
      absl::IsInvalidArgument(scheduler_->Submit(request, now_).status()));
  request.received = {1};
  request.kind = WorkKind::kScore;
  EXPECT_TRUE(
      absl::IsInvalidArgument(scheduler_->Submit(request, now_).status()));
}

TEST_F(SchedulerRebuildTest, LateAnswersOfALostGroupAreIgnored) {
  const uint64_t id = Submit(Generate(4, 9));
  Next();
  Next();
  AnswerWith(absl::UnavailableError("a worker is gone"));
  EXPECT_THAT(Ends(), IsEmpty());
  EXPECT_THAT(scheduler_->stats().kv_bytes_used, ElementsAre(0));
  EXPECT_THAT(Next(), IsEmpty());
  scheduler_->Resume(CapacityOf(64), now_);
  EXPECT_THAT(scheduler_->stats().kv_bytes_capacity, ElementsAre(6400));
  EXPECT_THAT(Next(), ElementsAre(std::to_string(id) + "@0+4*"));
  EXPECT_EQ(sent_.back().step.step_id, 1u);
  EXPECT_THAT(Next(), IsEmpty());  // the lost step is unanswered still
  AnswerWith(StepResult{.step_id = 2, .results = {}});  // late
  EXPECT_EQ(Next().size(), 1u);
}

TEST_F(SchedulerRebuildTest, NewRequestsWaitToo) {
  Lose();
  const uint64_t id = Submit(Generate(4, 1));
  EXPECT_THAT(Next(), IsEmpty());
  scheduler_->Resume(CapacityOf(1024), now_);
  EXPECT_THAT(Next(), ElementsAre(std::to_string(id) + "@0+4*"));
}

TEST_F(SchedulerRebuildTest, BeforeTheFirstGroupRequestsAreRefused) {
  EngineOptions options = Options();
  options.kv_capacity = {};
  scheduler_.emplace(options);
  scheduler_->Suspend(absl::UnavailableError("none yet"), GroupEnd::kPlanned,
                      now_);
  EXPECT_EQ(scheduler_->Submit(Generate(4, 1), now_).status(),
            absl::UnavailableError("none yet"));
  EXPECT_EQ(scheduler_->Resume(CapacityOf(64), now_).num_rebuilt, 0);
  EXPECT_TRUE(scheduler_->Submit(Generate(4, 1), now_).ok());
}

TEST_F(SchedulerRebuildTest, WithoutAGroupDeadlinesAndCancellationHold) {
  EngineRequest timed = Generate(4, 9);
  timed.deadline = now_ + absl::Seconds(1);
  const uint64_t late = Submit(timed);
  const uint64_t cancelled = Submit(Generate(4, 9));
  const uint64_t stopped = Submit(Generate(4, 9));
  const uint64_t patient = Submit(Generate(4, 9));
  Next();
  Lose();
  EXPECT_EQ(scheduler_->next_deadline(), timed.deadline);
  scheduler_->Cancel(cancelled, now_);
  scheduler_->Stop(stopped, now_);
  now_ += absl::Seconds(1);
  Next();
  EXPECT_THAT(
      Ends(),
      ElementsAre(std::pair(cancelled, absl::StatusCode::kCancelled),
                  std::pair(stopped, absl::StatusCode::kOk),
                  std::pair(late, absl::StatusCode::kDeadlineExceeded)));
  Lose();  // heard of once more: the wait goes on
  EXPECT_EQ(scheduler_->next_deadline(), kStart + Options().rebuild_wait);
  now_ = kStart + Options().rebuild_wait;
  Next();
  EXPECT_EQ(EndOf(patient), absl::UnavailableError("gone"));
  EXPECT_EQ(scheduler_->Submit(Generate(1, 1), now_).status(),
            absl::UnavailableError("gone"));
  EXPECT_EQ(scheduler_->next_deadline(), absl::InfiniteFuture());
}

TEST_F(SchedulerRebuildTest, WhatNoLongerFitsEndsWithBothNumbers) {
  const uint64_t big = Submit(Generate(300, 9));
  const uint64_t small = Submit(Generate(30, 9));
  Next();
  const ResumeReport report = LoseGroup(CapacityOf(128));
  EXPECT_EQ(report.num_ended, 1);
  EXPECT_EQ(report.num_rebuilt, 1);
  const absl::Status end = EndOf(big);
  EXPECT_EQ(end.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(end.message(), HasSubstr("after a loss of workers"));
  EXPECT_THAT(end.message(), HasSubstr("available are 12800 bytes"));
  EXPECT_THAT(Next(), ElementsAre(std::to_string(small) + "@0+16"));
}

TEST_F(SchedulerRebuildTest, WhatWorkersDieOfEndsAndRunsAloneBefore) {
  const uint64_t bystander = Submit(Generate(20, 9));
  const uint64_t poison = Submit(Generate(20, 9));
  for (int loss = 1; loss < kMaxLosses; ++loss) {
    EXPECT_EQ(Next().size(), 2u);
    LoseGroup();
    EXPECT_THAT(Ends(), IsEmpty());
  }
  // Each alone: the bystander comes further, and then waits for nobody.
  EXPECT_THAT(Next(), ElementsAre(std::to_string(bystander) + "@0+16"));
  Answer();
  EXPECT_THAT(Next(), ElementsAre(std::to_string(bystander) + "@16+4*",
                                  std::to_string(poison) + "@0+16"));
  LoseGroup();
  const absl::Status end = EndOf(poison);
  EXPECT_EQ(end.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(end.message(), HasSubstr("3 times in a row"));
  EXPECT_THAT(Next(), ElementsAre(std::to_string(bystander) + "@0+16"));
}

TEST_F(SchedulerRebuildTest, PlannedEndsAndProgressAreNotHeldAgainstARequest) {
  Submit(Generate(4, 99));
  for (int i = 0; i < 20; ++i) {
    Next();
    LoseGroup(CapacityOf(1024), GroupEnd::kPlanned);
  }
  EXPECT_THAT(Ends(), IsEmpty());
  for (int i = 0; i < 20; ++i) {
    while (scheduler_->TakeEvents().empty()) {
      Next();
      Answer();
    }
    Next();
    LoseGroup();
  }
  EXPECT_THAT(Ends(), IsEmpty());
}

TEST_F(SchedulerRebuildTest, ALostPrefixRunsAgainForItsForksOnly) {
  const uint64_t first = HoldPrefix(20);
  const uint64_t longer = HoldPrefix(10, first);
  scheduler_->Release(first, now_);
  LoseGroup();
  EXPECT_THAT(Next(), IsEmpty()) << "nobody needs it";
  EXPECT_EQ(scheduler_->stats().held, 2);
  const uint64_t fork = Submit(ForkOf(longer));
  EXPECT_THAT(Next(), ElementsAre("1@0+16"));
  EXPECT_THAT(Next(), ElementsAre("1@16+4"));
  Answer();
  Answer();
  EXPECT_THAT(Next(), ElementsAre("2@20+10"));
  ASSERT_EQ(sent_.back().step.forks.size(), 1u);
  Answer();
  EXPECT_THAT(Next(), ElementsAre(std::to_string(fork) + "@30+3*"));
  RunAll();
  EXPECT_THAT(Ends(), ElementsAre(std::pair(fork, absl::StatusCode::kOk)));
  scheduler_->Release(longer, now_);
  RunAll();
  EXPECT_EQ(workers_->num_sequences(), 0);
  EXPECT_EQ(scheduler_->stats().held, 0);
  EXPECT_THAT(scheduler_->stats().kv_bytes_used, ElementsAre(0));
}

TEST_F(SchedulerRebuildTest, AForkThatRanBeginsWithItsPrefixAgain) {
  const uint64_t prefix = HoldPrefix(20);
  const uint64_t fork = Submit(ForkOf(prefix));
  Next();
  scheduler_->Release(prefix, now_);
  LoseGroup();
  EXPECT_THAT(Next(), ElementsAre("1@0+16"));
  LoseGroup();
  RunAll();
  EXPECT_THAT(Ends(), ElementsAre(std::pair(fork, absl::StatusCode::kOk)));
  EXPECT_EQ(scheduler_->stats().held, 0);
  EXPECT_EQ(workers_->num_sequences(), 0);
}

TEST_F(SchedulerRebuildTest, APrefixThatCantRunAgainEndsWhatWaitsForIt) {
  const uint64_t prefix = HoldPrefix(20);
  LoseGroup();
  const uint64_t fork = Submit(ForkOf(prefix));
  Next();
  AnswerWith(absl::InvalidArgumentError("no"));
  workers_->SkipStep();
  EXPECT_EQ(EndOf(fork).code(), absl::StatusCode::kInternal);
  RunAll();
  EXPECT_EQ(scheduler_->Submit(ForkOf(prefix), now_).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_TRUE(scheduler_->idle());
  EXPECT_EQ(workers_->num_sequences(), 0);
  EXPECT_THAT(scheduler_->stats().kv_bytes_used, ElementsAre(0));
}

// Its tokens are known, and those that it begins with are not.
TEST_F(SchedulerRebuildTest, AForkOfAPrefixThatCantRunAgainIsLostWithIt) {
  const uint64_t first = HoldPrefix(20);
  const uint64_t longer = HoldPrefix(10, first);
  LoseGroup();
  const uint64_t fork = Submit(ForkOf(first));
  Next();
  AnswerWith(absl::InvalidArgumentError("no"));
  workers_->SkipStep();
  EXPECT_EQ(EndOf(fork).code(), absl::StatusCode::kInternal);
  EXPECT_EQ(scheduler_->Submit(ForkOf(longer), now_).status().code(),
            absl::StatusCode::kDataLoss);
  scheduler_->Release(longer, now_);
  EXPECT_EQ(scheduler_->stats().held, 0);
}

TEST_F(SchedulerRebuildTest, APrefixThatWorkersDieOfIsForgotten) {
  const uint64_t prefix = HoldPrefix(20);
  LoseGroup();
  const uint64_t fork = Submit(ForkOf(prefix));
  for (int loss = 0; loss < kMaxLosses; ++loss) {
    EXPECT_EQ(Next().size(), 1u);
    LoseGroup();
  }
  EXPECT_EQ(EndOf(fork).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(scheduler_->stats().held, 0);
  EXPECT_TRUE(scheduler_->idle());
}

}  // namespace
}  // namespace headwise
