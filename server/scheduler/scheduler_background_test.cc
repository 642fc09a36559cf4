// Requests in the background, and scores under two plans.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/scheduler/scheduler_fixture.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::shared_ptr<const HeadPlan> Masked() {
  auto plan = std::make_shared<HeadPlan>();
  plan->num_layers = kTinyKv.num_layers;
  plan->num_kv_heads = kTinyKv.num_kv_heads;
  plan->num_heads = kTinyKv.num_heads();
  plan->units.resize(
      static_cast<size_t>(plan->num_layers * plan->num_kv_heads));
  plan->heads.resize(static_cast<size_t>(plan->num_layers * plan->num_heads));
  plan->heads.back().mask = HeadMask::kUniform;
  return plan;
}

EngineRequest Score(int64_t prompt_len) {
  EngineRequest request = Generate(prompt_len, 0);
  request.kind = WorkKind::kScore;
  return request;
}

EngineRequest Background(int64_t prompt_len) {
  EngineRequest request = Score(prompt_len);
  request.is_background = true;
  return request;
}

EngineRequest BackgroundText(int64_t prompt_len, int64_t max_new_tokens) {
  EngineRequest request = Generate(prompt_len, max_new_tokens);
  request.is_background = true;
  return request;
}

class SchedulerBackgroundTest : public SchedulerTest {
 protected:
  SchedulerBackgroundTest() {
    EngineOptions options = Options();
    options.max_background_rows = 8;
    Use(options);
  }
  void UseRoomFor(int64_t num_running, int64_t positions) {
    EngineOptions options = Options();
    options.max_running_sequences = num_running;
    options.kv_capacity = CapacityOf(positions);
    Use(options);
  }
  // Of each request, since the last call.
  std::map<uint64_t, std::vector<int32_t>> Tokens() {
    std::map<uint64_t, std::vector<int32_t>> tokens;
    for (const SchedulerEvent& event : scheduler_->TakeEvents()) {
      if (event.kind == SchedulerEvent::Kind::kToken) {
        tokens[event.request_id].push_back(event.outcome.token);
      }
    }
    return tokens;
  }
};

TEST_F(SchedulerBackgroundTest, RunsInSmallStepsOneAtATime) {
  const uint64_t id = Submit(Background(12));
  ASSERT_EQ(id, 1u);
  EXPECT_THAT(Next(), ElementsAre("1@0+8"));
  EXPECT_THAT(Next(), IsEmpty());
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@8+4"));
  Answer();
  EXPECT_THAT(Ends(), ElementsAre(std::pair(id, absl::StatusCode::kOk)));
}

TEST_F(SchedulerBackgroundTest, GivesWayToEveryOtherRow) {
  Submit(Background(40));
  EXPECT_THAT(Next(), ElementsAre("1@0+8"));
  Submit(Generate(5, 2));
  EXPECT_THAT(Next(), ElementsAre("2@0+5*"));
  Answer();
  EXPECT_THAT(Next(), ElementsAre("2@5+1?*"));
  Answer();
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@8+8", "free 2"));
}

TEST_F(SchedulerBackgroundTest, WaitsForOthersThatWait) {
  Use([] {
    EngineOptions options = Options();
    options.max_running_sequences = 1;
    return options;
  }());
  Submit(Generate(3, 1));
  EXPECT_THAT(Next(), ElementsAre("1@0+3*"));
  Submit(Background(4));
  Submit(Generate(3, 1));
  EXPECT_THAT(Next(), IsEmpty());
  Answer();
  EXPECT_THAT(Next(), ElementsAre("3@0+3*", "free 1"));
  Answer();
  EXPECT_THAT(Next(), ElementsAre("2@0+4", "free 3"));
}

TEST_F(SchedulerBackgroundTest, LeavesHalfOfThePlaces) {
  for (int i = 0; i < 6; ++i) Submit(Background(1));
  EXPECT_THAT(Next(), ElementsAre("1@0+1", "2@0+1", "3@0+1", "4@0+1"));
  EXPECT_EQ(scheduler_->stats().waiting, 2);
}

TEST_F(SchedulerBackgroundTest, LeavesHalfOfTheCachesUnlessAlone) {
  EngineOptions options = Options();
  options.kv_capacity = CapacityOf(256);
  Use(options);
  Submit(Background(200));
  Submit(Background(20));
  EXPECT_THAT(Next(), ElementsAre("1@0+16"));
}

TEST_F(SchedulerBackgroundTest, TextsAreWrittenInStepsOfTheirOwn) {
  Submit(BackgroundText(6, 9));
  Submit(BackgroundText(4, 9));
  EXPECT_THAT(Next(), ElementsAre("2@0+4*", "1@0+4"));
  EXPECT_THAT(Next(), IsEmpty());
  Answer();
  EXPECT_THAT(Next(), ElementsAre("2@4+1*", "1@4+2*"));
  Answer();
  Submit(Generate(3, 2));
  EXPECT_THAT(Next(), ElementsAre("3@0+3*"));
  EXPECT_THAT(Next(), ElementsAre("3@3+1?*"));
  Answer();
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@6+1*", "2@5+1*", "free 3"));
  RunAll();
  const auto tokens = Tokens();
  EXPECT_EQ(tokens.at(1), ExpectedAnswerOf(Generate(6, 9)).tokens);
  EXPECT_EQ(tokens.at(2), ExpectedAnswerOf(Generate(4, 9)).tokens);
}

TEST_F(SchedulerBackgroundTest, GivesItsPlaceUpAndGoesOnWhereItWas) {
  UseRoomFor(1, 1024);
  const uint64_t text = Submit(BackgroundText(20, 9));
  for (int i = 0; i < 4; ++i) {
    Next();
    Answer();  // two slices of the prompt, two more tokens
  }
  EXPECT_EQ(Tokens().at(text).size(), 3u);
  Next();
  Submit(Generate(5, 1));
  EXPECT_THAT(Next(), IsEmpty()) << "rows in flight can't be taken back";
  Answer();
  EXPECT_THAT(Next(), ElementsAre("2@0+5*", "free 1"));
  EXPECT_EQ(scheduler_->stats().preemptions_total, 1u);
  EXPECT_EQ(scheduler_->stats().waiting, 1);
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@0+16", "free 2"));
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@16+4")) << "which asks for nothing";
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@20+3"));
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@23+1*"));
  RunAll();
  std::vector<int32_t> expected = ExpectedAnswerOf(Generate(20, 9)).tokens;
  expected.erase(expected.begin(), expected.begin() + 3);
  EXPECT_EQ(Tokens().at(text), expected);
  EXPECT_THAT(scheduler_->stats().kv_bytes_used, ElementsAre(0));
  EXPECT_EQ(workers_->num_sequences(), 0);
}

TEST_F(SchedulerBackgroundTest, GivesItsMemoryUpTheYoungestFirst) {
  UseRoomFor(8, 512);
  Submit(BackgroundText(60, 4));
  Submit(BackgroundText(60, 4));  // a block each
  Next();
  Answer();
  Submit(Generate(400, 1));  // 7 of 8
  EXPECT_THAT(Next(), ElementsAre("3@0+16", "free 2"));
  EXPECT_EQ(scheduler_->stats().running, 2);
  RunAll();
  EXPECT_EQ(Ends().size(), 3u);
}

TEST_F(SchedulerBackgroundTest, ForksAreNotPreempted) {
  UseRoomFor(1, 1024);
  const uint64_t prefix = HoldPrefix(20);
  EngineRequest fork = BackgroundText(5, 3);
  fork.fork_from = prefix;
  Submit(std::move(fork));
  Next();
  Answer();
  const uint64_t other = Submit(Generate(5, 1));
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(scheduler_->stats().waiting, 1);
    Next();
    Answer();
  }
  EXPECT_THAT(Next(), ElementsAre(std::to_string(other) + "@0+5*", "free 2"));
  EXPECT_EQ(scheduler_->stats().preemptions_total, 0u);
}

// Somebody else always waits.
TEST_F(SchedulerBackgroundTest, TheOldestComesToAnEndHoweverManyOthersCome) {
  UseRoomFor(2, 1024);
  std::vector<uint64_t> texts;
  for (int i = 0; i < 2; ++i) texts.push_back(Submit(BackgroundText(4, 4)));
  const auto is_text = [&](uint64_t id) { return id <= 2; };
  std::vector<uint64_t> ended;
  const auto go_on = [&](int num_steps) {
    for (int i = 0; i < num_steps; ++i) {
      while (scheduler_->stats().waiting < 4) Submit(Generate(4, 4));
      if (Next().size() > 0) Answer();
      for (const auto& [id, code] : Ends()) {
        if (is_text(id)) ended.push_back(id);
      }
    }
  };
  go_on(100);
  EXPECT_THAT(ended, IsEmpty());
  now_ += kBackgroundPatience;
  Next();
  EXPECT_EQ(scheduler_->stats().running, 2);
  Answer();
  go_on(100);
  EXPECT_THAT(ended, ElementsAre(texts[0], texts[1])) << "one after the other";
}

TEST_F(SchedulerBackgroundTest, HalfOfTheQueueIsKeptForOthers) {
  EngineOptions options = Options();
  options.max_running_sequences = 1;
  options.max_queued_requests = 4;
  Use(options);
  Submit(Generate(1, 9));
  Next();
  for (int i = 0; i < 2; ++i) Submit(BackgroundText(1, 1));
  const absl::Status refused =
      scheduler_->Submit(BackgroundText(1, 1), now_).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("2 of priority batch wait already, at most 2"));
  for (int i = 0; i < 2; ++i) Submit(Generate(1, 1));
}

// Whose prefix was lost: it comes back with the rows of whoever waits for it.
TEST_F(SchedulerBackgroundTest, APrefixIsRunAgainAtThePriorityOfWhoNeedsIt) {
  const uint64_t prefix = HoldPrefix(30);
  LoseGroup();
  EngineRequest fork = BackgroundText(5, 1);
  fork.fork_from = prefix;
  Submit(fork);
  EXPECT_THAT(Next(), ElementsAre("1@0+8"));
  Answer();
  Submit(Generate(3, 2));
  EXPECT_THAT(Next(), ElementsAre("3@0+3*")) << "before the prefix";
  fork.is_background = false;
  Submit(fork);
  EXPECT_THAT(Next(), ElementsAre("3@3+1?*", "1@8+16"));
}

TEST_F(SchedulerBackgroundTest, ScoresUnderTwoPlans) {
  EngineRequest request = Score(10);
  request.contrast_plan = Masked();
  const uint64_t id = Submit(request);
  std::optional<TicketedStep> step = scheduler_->NextStep(now_);
  ASSERT_TRUE(step.has_value());
  ASSERT_EQ(step->step.plans.size(), 1u);
  EXPECT_EQ(step->step.slices[0].contrast_plan_id, step->step.plans[0].plan_id);
  sent_.push_back(*std::move(step));
  Answer();
  EngineRequest masked = Score(10);
  masked.plan = request.contrast_plan;
  std::vector<float> base, contrast;
  for (const SchedulerEvent& event : scheduler_->TakeEvents()) {
    if (event.kind != SchedulerEvent::Kind::kRows) continue;
    EXPECT_EQ(event.request_id, id);
    base = event.outcome.score_logprobs;
    contrast = event.outcome.contrast_logprobs;
  }
  EXPECT_EQ(base, ExpectedAnswerOf(Score(10)).score_logprobs);
  EXPECT_EQ(contrast, ExpectedAnswerOf(masked).score_logprobs);
}

TEST_F(SchedulerBackgroundTest, RowsWithAContrastCountTwice) {
  EngineRequest request = Score(14);
  request.contrast_plan = Masked();
  Submit(request);
  Submit(request);
  EXPECT_THAT(Next(), ElementsAre("1@0+14", "2@0+2"));  // 32 rows of room
  request.is_background = true;
  Submit(request);
  Answer();
  EXPECT_THAT(Next(), ElementsAre("2@2+12", "free 1"));
}

TEST_F(SchedulerBackgroundTest, ContrastsTakeTheirShareOfTheCaches) {
  EngineOptions options = Options();
  options.kv_capacity = CapacityOf(512);
  Use(options);
  EngineRequest request = Score(300);
  EXPECT_TRUE(scheduler_->Submit(request, now_).ok());
  request.contrast_plan = Masked();
  EXPECT_EQ(scheduler_->Submit(request, now_).status().code(),
            absl::StatusCode::kOutOfRange);
}

TEST_F(SchedulerBackgroundTest, RefusesWhatHasNoScores) {
  EngineRequest request = Generate(4, 1);
  request.contrast_plan = Masked();
  EXPECT_THAT(std::string(scheduler_->Submit(request, now_).status().message()),
              HasSubstr("contrast_plan"));
}

}  // namespace
}  // namespace headwise
