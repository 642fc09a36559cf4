// What refused, spoiled, malformed, late and lost steps do to their requests.

#include <cstdint>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/scheduler/scheduler_fixture.h"
#include "worker/step/step_errors.h"

namespace headwise {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using SchedulerFailureTest = SchedulerTest;

TEST_F(SchedulerFailureTest,
       RefusedStepEndsItsRequestsAndItsFreesAreTriedAlone) {
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

TEST_F(SchedulerFailureTest, AnswersOfTheWrongShapeEndTheirRequestOnly) {
  using Spoil = void (*)(StepResult&);
  const Spoil spoils[] = {
      [](StepResult& o) { o.results[0].sequence_id += 100; },
      [](StepResult& o) { o.results[0].has_token = false; },
      [](StepResult& o) { o.results[0].score_logprobs = {1.0f}; },
      [](StepResult& o) { o.results[0].logits_digests.resize(1); },
      [](StepResult& o) { o.results[0].hidden = {1.0f}; },
  };
  for (const Spoil spoil : spoils) {
    Use(Options());
    Submit(Generate(4, 9));
    Submit(Generate(5, 9));
    Next();
    absl::StatusOr<StepResult> outcome = workers_->Execute(sent_[0].step);
    ASSERT_TRUE(outcome.ok());
    spoil(*outcome);
    AnswerWith(std::move(outcome));
    EXPECT_THAT(Ends(), ElementsAre(std::pair(1, absl::StatusCode::kInternal)));
    EXPECT_THAT(Next(), ElementsAre("2@5+1*", "free 1"));
    sent_.clear();
  }
}

TEST_F(SchedulerFailureTest, SpoiledStepEndsAndFreesItsSequencesOnly) {
  Submit(Generate(30, 9));
  Submit(Generate(30, 9));
  Submit(Generate(31, 9));
  EXPECT_THAT(Next(), ElementsAre("1@0+16", "2@0+16"));
  ASSERT_TRUE(workers_->Execute(sent_[0].step).ok());
  AnswerWith(absl::OutOfRangeError("NaN in layer 3"));
  EXPECT_THAT(Ends(), ElementsAre(std::pair(1, absl::StatusCode::kInternal),
                                  std::pair(2, absl::StatusCode::kInternal)));
  EXPECT_THAT(Next(), ElementsAre("3@0+16", "free 1", "free 2"));
  Answer();
  EXPECT_EQ(workers_->num_sequences(), 1);
}

TEST_F(SchedulerFailureTest, AMemoryThatBlewUpIsOutOfRangeToClients) {
  Submit(Generate(4, 9));
  Next();
  AnswerWith(MemoryBlewUp(3));
  EXPECT_THAT(Ends(), ElementsAre(std::pair(1, absl::StatusCode::kOutOfRange)));
}

TEST_F(SchedulerFailureTest, AnswerWithTooFewSlicesEndsTheWholeStep) {
  Submit(Generate(4, 9));
  Submit(Generate(5, 9));
  Next();
  AnswerWith(StepResult{.step_id = 1, .results = {}});
  EXPECT_THAT(Ends(), ElementsAre(std::pair(1, absl::StatusCode::kInternal),
                                  std::pair(2, absl::StatusCode::kInternal)));
}

TEST_F(SchedulerFailureTest, UnknownErrorReachesItsRequestsAndTheRestWaits) {
  EngineOptions options = Options();
  options.max_running_sequences = 1;
  Use(options);
  Submit(Generate(4, 9));
  Submit(Generate(4, 9));
  Next();
  AnswerWith(absl::InternalError("NaN in layer 3"));
  EXPECT_THAT(Ends(), ElementsAre(std::pair(1, absl::StatusCode::kInternal)));
  EXPECT_THAT(Next(), IsEmpty());
  EXPECT_EQ(scheduler_->stats().waiting, 1);
}

TEST_F(SchedulerFailureTest, OutcomesAreAppliedInTheOrderOfTheirSteps) {
  Submit(Generate(3, 2));
  Next();
  Next();
  absl::StatusOr<StepResult> first = workers_->Execute(sent_[0].step);
  absl::StatusOr<StepResult> second = workers_->Execute(sent_[1].step);
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
