#include "server/scheduler/scheduler.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/scheduler/model_workers.h"

namespace headwise {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr absl::Time kStart = absl::UnixEpoch();

EngineOptions Options() {
  return {.max_step_tokens = 32,
          .max_running_sequences = 8,
          .max_queued_requests = 16,
          .prefill_chunk = 16,
          .kv_capacity_tokens = 1024,
          .kv_bytes_per_token = 100,
          .max_context_len = 1024};
}

EngineRequest Generate(int64_t prompt_len, int64_t max_new_tokens) {
  EngineRequest request;
  for (int64_t i = 0; i < prompt_len; ++i) {
    request.prompt.push_back(static_cast<int32_t>(100 + i));
  }
  request.max_new_tokens = max_new_tokens;
  return request;
}

// "id@first+rows", "?" for a row of the last sample, "*" if it samples.
std::vector<std::string> Rows(const StepPlan& plan) {
  std::vector<std::string> rows;
  for (const SlicePlan& slice : plan.slices) {
    rows.push_back(std::to_string(slice.sequence_id) + "@" +
                   std::to_string(slice.first_position) + "+" +
                   std::to_string(slice.num_rows()) +
                   (slice.use_last_sample ? "?" : "") +
                   (slice.sample ? "*" : ""));
  }
  return rows;
}

class SchedulerTest : public testing::Test {
 protected:
  void Use(const EngineOptions& options) {
    scheduler_.emplace(options);
    workers_.emplace(options.kv_capacity_tokens);
  }

  uint64_t Submit(EngineRequest request) {
    const auto id = scheduler_->Submit(std::move(request), now_);
    EXPECT_TRUE(id.ok()) << id.status();
    return id.value_or(0);
  }

  // The next plan's rows; empty if there is none.
  std::vector<std::string> Next() {
    std::optional<TicketedPlan> plan = scheduler_->NextStep(now_);
    if (!plan.has_value()) return {};
    std::vector<std::string> rows = Rows(plan->plan);
    for (const uint64_t id : plan->plan.free_sequence_ids) {
      rows.push_back("free " + std::to_string(id));
    }
    sent_.push_back(*std::move(plan));
    return rows;
  }

  // Answers the oldest plan.
  void Answer() { AnswerWith(workers_->Execute(sent_.front().plan)); }
  void AnswerWith(absl::StatusOr<StepOutcome> outcome) {
    scheduler_->AddOutcome(sent_.front().ticket, std::move(outcome));
    sent_.erase(sent_.begin());
    while (scheduler_->ApplyOutcome(now_)) {
    }
  }

  // How each request that ended since the last call ended.
  std::vector<std::pair<uint64_t, absl::StatusCode>> Ends() {
    std::vector<std::pair<uint64_t, absl::StatusCode>> ends;
    for (const SchedulerEvent& event : scheduler_->TakeEvents()) {
      if (event.kind == SchedulerEvent::Kind::kFinished) {
        ends.emplace_back(event.request_id, event.status.code());
      }
    }
    return ends;
  }

  absl::Time now_ = kStart;
  std::optional<Scheduler> scheduler_{Options()};
  std::optional<ModelWorkers> workers_{1024};
  std::vector<TicketedPlan> sent_;
};

TEST_F(SchedulerTest, OneStreamKeepsTwoPlansInFlightAndEndsInTime) {
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
  EXPECT_EQ(scheduler_->stats().kv_tokens_used, 0);
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
  EXPECT_THAT(sent_[0].plan.slices[0].tokens, ElementsAre(token));
}

TEST_F(SchedulerTest, DecodeRowsComeFirstAndPromptsShareTheRest) {
  Submit(Generate(5, 9));
  Next();
  Answer();
  Submit(Generate(40, 1));
  Submit(Generate(40, 1));
  EXPECT_THAT(Next(), ElementsAre("1@5+1*", "2@0+16", "3@0+15"));
  EXPECT_THAT(Next(), ElementsAre("1@6+1?*", "2@16+16", "3@15+15"));
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@7+1?*", "2@32+8*", "3@30+10*"));
}

TEST_F(SchedulerTest, EverySequenceIsInEveryPlan) {
  for (int i = 0; i < 5; ++i) Submit(Generate(2, 100));
  Next();
  Next();
  for (int i = 0; i < 20; ++i) {
    Answer();
    EXPECT_EQ(Next().size(), 5u);
  }
}

TEST_F(SchedulerTest, NoMoreSequencesRunThanAPlanHasRows) {
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
  options.kv_capacity_tokens = 256;
  Use(options);
  Submit(Generate(10, 100));  // 128 positions
  Submit(Generate(10, 200));  // 256: waits for the first
  Submit(Generate(10, 20));   // 64 would fit
  EXPECT_THAT(Next(), ElementsAre("1@0+10*"));
  EXPECT_EQ(scheduler_->stats().kv_tokens_used, 128);
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
  EXPECT_EQ(scheduler_->stats().kv_tokens_used, 64);
  Answer();
  EXPECT_THAT(Next(), ElementsAre("free 1"));
  EXPECT_EQ(scheduler_->stats().kv_tokens_used, 0);
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
  const SlicePlan& first = sent_[0].plan.slices[0];
  const SlicePlan& second = sent_[1].plan.slices[0];
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

TEST_F(SchedulerTest, RefusedPlanEndsItsRequestsAndItsFreesAreTriedAlone) {
  Submit(Generate(4, 1));
  Next();
  Answer();  // 1 has ended
  Submit(Generate(4, 50));
  EXPECT_THAT(Next(), ElementsAre("2@0+4*", "free 1"));
  Ends();
  AnswerWith(absl::InvalidArgumentError("what is this?"));
  workers_->SkipStep();
  EXPECT_THAT(Ends(), ElementsAre(std::pair(2, absl::StatusCode::kInternal)));
  Submit(Generate(4, 50));
  EXPECT_THAT(Next(), ElementsAre("free 1"));
  EXPECT_THAT(Next(), ElementsAre("3@0+4*"));  // 2 never ran: nothing to free
  Answer();
  Answer();
  EXPECT_EQ(workers_->num_sequences(), 1);
}

TEST_F(SchedulerTest, AnswersOfTheWrongShapeEndTheirRequestOnly) {
  using Spoil = void (*)(StepOutcome&);
  const Spoil spoils[] = {
      [](StepOutcome& o) { o.slices[0].sequence_id += 100; },
      [](StepOutcome& o) { o.slices[0].has_token = false; },
      [](StepOutcome& o) { o.slices[0].score_logprobs = {1.0f}; },
      [](StepOutcome& o) { o.slices[0].logits_digests.resize(1); },
      [](StepOutcome& o) { o.slices[0].hidden = {1.0f}; },
  };
  for (const Spoil spoil : spoils) {
    Use(Options());
    Submit(Generate(4, 9));
    Submit(Generate(5, 9));
    Next();
    absl::StatusOr<StepOutcome> outcome = workers_->Execute(sent_[0].plan);
    ASSERT_TRUE(outcome.ok());
    spoil(*outcome);
    AnswerWith(std::move(outcome));
    EXPECT_THAT(Ends(), ElementsAre(std::pair(1, absl::StatusCode::kInternal)));
    EXPECT_THAT(Next(), ElementsAre("2@5+1*", "free 1"));
    sent_.clear();
  }
}

TEST_F(SchedulerTest, AnswerWithTooFewSlicesEndsTheWholePlan) {
  Submit(Generate(4, 9));
  Submit(Generate(5, 9));
  Next();
  AnswerWith(StepOutcome{.step_id = 1, .slices = {}});
  EXPECT_THAT(Ends(), ElementsAre(std::pair(1, absl::StatusCode::kInternal),
                                  std::pair(2, absl::StatusCode::kInternal)));
}

TEST_F(SchedulerTest, LostGroupEndsAllAndItsLateAnswersAreIgnored) {
  Submit(Generate(4, 9));
  Next();
  Next();
  EngineOptions options = Options();
  for (int64_t i = 0; i < options.max_running_sequences; ++i) {
    Submit(Generate(4, 9));
  }
  AnswerWith(absl::UnavailableError("a worker is gone"));
  EXPECT_EQ(Ends().size(), 9u);
  EXPECT_EQ(scheduler_->stats().kv_tokens_used, 0);
  EXPECT_EQ(scheduler_->Submit(Generate(1, 1), now_).status(),
            absl::UnavailableError("a worker is gone"));
  EXPECT_THAT(Next(), IsEmpty());

  scheduler_->Resume(64, now_);
  EXPECT_EQ(scheduler_->stats().kv_tokens_capacity, 64);
  const uint64_t id = Submit(Generate(4, 9));
  EXPECT_THAT(Next(), ElementsAre(std::to_string(id) + "@0+4*"));
  EXPECT_EQ(sent_.back().plan.step_id, 1u);
  EXPECT_THAT(Next(), IsEmpty());  // the lost plan is unanswered still
  AnswerWith(StepOutcome{.step_id = 2, .slices = {}});  // late
  EXPECT_THAT(Ends(), IsEmpty());
  EXPECT_EQ(Next().size(), 1u);
}

TEST_F(SchedulerTest, UnknownErrorReachesItsRequestsAndLosesTheGroup) {
  EngineOptions options = Options();
  options.max_running_sequences = 1;
  Use(options);
  Submit(Generate(4, 9));
  Submit(Generate(4, 9));
  Next();
  AnswerWith(absl::InternalError("NaN in layer 3"));
  EXPECT_THAT(Ends(),
              ElementsAre(std::pair(1, absl::StatusCode::kInternal),
                          std::pair(2, absl::StatusCode::kUnavailable)));
}

TEST_F(SchedulerTest, OutcomesAreAppliedInTheOrderOfTheirSteps) {
  Submit(Generate(3, 2));
  Next();
  Next();
  absl::StatusOr<StepOutcome> first = workers_->Execute(sent_[0].plan);
  absl::StatusOr<StepOutcome> second = workers_->Execute(sent_[1].plan);
  scheduler_->AddOutcome(sent_[1].ticket, std::move(second));
  EXPECT_FALSE(scheduler_->ApplyOutcome(now_));
  scheduler_->AddOutcome(sent_[0].ticket, std::move(first));
  EXPECT_TRUE(scheduler_->ApplyOutcome(now_));
  EXPECT_THAT(Ends(), IsEmpty());
  EXPECT_TRUE(scheduler_->ApplyOutcome(now_));
  EXPECT_THAT(Ends(), ElementsAre(std::pair(1, absl::StatusCode::kOk)));
}

}  // namespace
}  // namespace headwise
