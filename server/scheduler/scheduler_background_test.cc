// Requests in the background, and scores under two plans.

#include <memory>

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

class SchedulerBackgroundTest : public SchedulerTest {
 protected:
  SchedulerBackgroundTest() {
    EngineOptions options = Options();
    options.max_background_rows = 8;
    Use(options);
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
  request.is_background = true;
  EXPECT_THAT(std::string(scheduler_->Submit(request, now_).status().message()),
              HasSubstr("is_background"));
  request.is_background = false;
  request.contrast_plan = Masked();
  EXPECT_THAT(std::string(scheduler_->Submit(request, now_).status().message()),
              HasSubstr("contrast_plan"));
}

}  // namespace
}  // namespace headwise
