// Plans, prefixes that are held, forks of them, and probes.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/head_plan/test_head_plans.h"
#include "server/scheduler/scheduler_fixture.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::shared_ptr<const HeadPlan> Scaled(float scale) {
  HeadPlan plan = FullPlan(1, 1, 1);
  plan.heads[0].output_scale = scale;
  return std::make_shared<const HeadPlan>(plan);
}

EngineRequest Prefix(int64_t prompt_len) {
  EngineRequest request = Generate(prompt_len, 0);
  request.kind = WorkKind::kPrefix;
  return request;
}

EngineRequest ForkOf(uint64_t prefix, int64_t prompt_len, int64_t max_new) {
  EngineRequest request = Generate(prompt_len, max_new);
  request.fork_from = prefix;
  return request;
}

class SchedulerPlanTest : public SchedulerTest {
 protected:
  const Step& Last() const { return sent_.back().step; }
  std::vector<uint64_t> LastPlans() const {
    std::vector<uint64_t> ids;
    for (const NumberedPlan& plan : Last().plans) ids.push_back(plan.plan_id);
    return ids;
  }
  void RunAll() {
    while (true) {
      Next();
      if (sent_.empty()) return;
      Answer();
    }
  }
  // A prefix whose prompt has run.
  uint64_t HoldPrefix(EngineRequest request) {
    const uint64_t id = Submit(std::move(request));
    RunAll();
    EXPECT_THAT(Ends(), ElementsAre(std::pair(id, absl::StatusCode::kOk)));
    return id;
  }
  std::vector<int64_t> KvUsed() const {
    return scheduler_->stats().kv_bytes_used;
  }
};

TEST_F(SchedulerPlanTest, APlanTravelsOnceAndSharesItsSteps) {
  EngineRequest one = Generate(4, 3), two = Generate(5, 3);
  one.plan = Scaled(2);
  two.plan = Scaled(2);  // equal, from another file
  Submit(one);
  Submit(two);
  Submit(Generate(6, 3));
  EXPECT_THAT(Next(), ElementsAre("1@0+4*", "2@0+5*", "3@0+6*"));
  EXPECT_THAT(LastPlans(), ElementsAre(1));
  EXPECT_EQ(*Last().plans[0].plan, *Scaled(2));
  EXPECT_EQ(Last().slices[0].plan_id, 1u);
  EXPECT_EQ(Last().slices[0].prompt_len, 4);
  EXPECT_EQ(Last().slices[1].plan_id, 1u);
  EXPECT_EQ(Last().slices[2].plan_id, 0u);
  Next();
  EXPECT_THAT(LastPlans(), IsEmpty());
  EXPECT_EQ(Last().slices[0].plan_id, 0u) << "only with the first slice";
  Answer();
  Answer();
  EngineRequest late = Generate(7, 1);
  late.plan = Scaled(3);
  Submit(late);
  Next();
  EXPECT_THAT(LastPlans(), ElementsAre(2));
}

TEST_F(SchedulerPlanTest, PlansMakeRoomForEachOther) {
  for (int i = 0; i < kMaxPlans + 3; ++i) {
    EngineRequest request = Generate(2, 1);
    request.plan = Scaled(static_cast<float>(i));
    Submit(request);
    RunAll();
    EXPECT_LE(workers_->num_plans(), kMaxPlans);
  }
  for (const auto& [id, code] : Ends()) EXPECT_EQ(code, absl::StatusCode::kOk);
}

TEST_F(SchedulerPlanTest, ARefusedStepTellsItsPlanAgain) {
  EngineRequest request = Generate(4, 1);
  request.plan = Scaled(2);
  Submit(request);
  Next();
  AnswerWith(absl::InvalidArgumentError("injected"));
  workers_->SkipStep();
  Submit(request);
  Next();
  EXPECT_THAT(LastPlans(), ElementsAre(1));
  Answer();
  EXPECT_THAT(Ends(), ElementsAre(std::pair(1, absl::StatusCode::kInternal),
                                  std::pair(2, absl::StatusCode::kOk)));
}

TEST_F(SchedulerPlanTest, APrefixStaysUntilReleased) {
  const uint64_t id = HoldPrefix(Prefix(70));
  EXPECT_EQ(scheduler_->stats().held, 1);
  EXPECT_EQ(scheduler_->stats().running, 0);
  EXPECT_THAT(KvUsed(), ElementsAre(128 * 100));
  scheduler_->Cancel(id, now_);  // it has ended
  EXPECT_THAT(Next(), IsEmpty());
  scheduler_->Release(id, now_);
  EXPECT_THAT(Next(), ElementsAre("free 1"));
  Answer();
  EXPECT_THAT(KvUsed(), ElementsAre(0));
  EXPECT_EQ(workers_->num_sequences(), 0);
  EXPECT_EQ(scheduler_->stats().held, 0);
  scheduler_->Release(id, now_);
  EXPECT_THAT(Next(), IsEmpty());
}

TEST_F(SchedulerPlanTest, ForksBeginWhereThePrefixEnded) {
  const uint64_t prefix = HoldPrefix(Prefix(70));
  EngineRequest fork = ForkOf(prefix, 5, 2);
  fork.plan = Scaled(2);
  const uint64_t a = Submit(fork);
  const uint64_t b = Submit(ForkOf(prefix, 6, 1));
  EXPECT_THAT(Next(), ElementsAre("2@70+5*", "3@70+6*"));
  EXPECT_THAT(LastPlans(), ElementsAre(1));
  ASSERT_EQ(Last().forks.size(), 2u);
  EXPECT_EQ(Last().forks[0].sequence_id, a);
  EXPECT_EQ(Last().forks[0].from_sequence_id, prefix);
  EXPECT_EQ(Last().forks[0].length, 70);
  EXPECT_EQ(Last().forks[0].plan_id, 1u);
  EXPECT_EQ(Last().forks[0].prompt_len, 75);
  EXPECT_EQ(Last().forks[1].sequence_id, b);
  EXPECT_EQ(Last().forks[1].plan_id, 0u);
  // The prefix's first block is shared, so each needs one of its own.
  EXPECT_THAT(KvUsed(), ElementsAre((128 + 64 + 64) * 100));
  scheduler_->Release(prefix, now_);
  EXPECT_THAT(Next(), ElementsAre("2@75+1?*"));
  EXPECT_THAT(Last().forks, IsEmpty());
  EXPECT_EQ(scheduler_->Submit(ForkOf(prefix, 1, 1), now_).status().code(),
            absl::StatusCode::kNotFound)
      << "it was released";
  RunAll();
  EXPECT_THAT(KvUsed(), ElementsAre(0));
  EXPECT_EQ(workers_->num_sequences(), 0);
}

TEST_F(SchedulerPlanTest, APrefixIsFreedAfterItsLastFork) {
  const uint64_t prefix = HoldPrefix(Prefix(70));
  Submit(ForkOf(prefix, 5, 1));
  scheduler_->Release(prefix, now_);
  EXPECT_THAT(Next(), ElementsAre("2@70+5*"));
  Answer();
  EXPECT_THAT(Next(), ElementsAre("free 2"));
  EXPECT_THAT(Next(), ElementsAre("free 1"));
}

// It waits for the prefix to go, which waits for its forks.
TEST_F(SchedulerPlanTest, ForksOvertakeWhatDoesNotFitBesideTheirPrefix) {
  const uint64_t prefix = HoldPrefix(Prefix(70));
  const uint64_t big = Submit(Generate(10, 1000));
  Submit(Generate(10, 1));
  const uint64_t fork = Submit(ForkOf(prefix, 5, 1));
  EXPECT_THAT(Next(), ElementsAre(std::to_string(fork) + "@70+5*"));
  scheduler_->Release(prefix, now_);
  RunAll();
  const auto ends = Ends();
  ASSERT_EQ(ends.size(), 3u);
  EXPECT_EQ(ends[0].first, fork);
  EXPECT_EQ(ends[1].first, big);
}

TEST_F(SchedulerPlanTest, ForksOvertakeNobodyWhoFitsBesideTheirPrefix) {
  const uint64_t prefix = HoldPrefix(Prefix(70));
  Submit(Generate(10, 800));
  Next();
  const uint64_t second = Submit(Generate(10, 800));  // waits for the first
  Submit(ForkOf(prefix, 5, 1));
  Answer();
  EXPECT_THAT(Next(), ElementsAre("2@10+1*"));
  scheduler_->Cancel(2, now_);
  Answer();
  EXPECT_THAT(Next(), ElementsAre("4@70+5*", std::to_string(second) + "@0+10*",
                                  "free 2"));
}

TEST_F(SchedulerPlanTest, ReleaseEndsAPrefixThatStillRuns) {
  const uint64_t id = Submit(Prefix(40));
  Next();
  scheduler_->Release(id, now_);
  EXPECT_THAT(Ends(), ElementsAre(std::pair(id, absl::StatusCode::kCancelled)));
  RunAll();
  EXPECT_THAT(KvUsed(), ElementsAre(0));
  const uint64_t other = Submit(Generate(4, 2));
  scheduler_->Release(other, now_);
  EXPECT_THAT(Ends(), IsEmpty()) << "it is no prefix";
}

TEST_F(SchedulerPlanTest, OnlyHeldPrefixesCanBeForked) {
  const uint64_t running = Submit(Prefix(40));
  for (const uint64_t id : {running, uint64_t{77}}) {
    const absl::Status status =
        scheduler_->Submit(ForkOf(id, 1, 1), now_).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(status.message(), HasSubstr("no such prefix is held"));
  }
}

TEST_F(SchedulerPlanTest, TheNextGroupIsToldThePlansAgain) {
  EngineRequest request = Prefix(40);
  request.plan = Scaled(2);
  const uint64_t id = HoldPrefix(request);
  LoseGroup();
  EXPECT_EQ(scheduler_->stats().held, 1);
  EngineRequest fork = ForkOf(id, 1, 1);
  fork.plan = Scaled(3);
  Submit(fork);
  EXPECT_THAT(Next(), ElementsAre(std::to_string(id) + "@0+16"));
  EXPECT_THAT(LastPlans(), ElementsAre(1)) << "new workers know no plan";
  RunAll();
  EXPECT_EQ(workers_->num_plans(), 2);
}

TEST_F(SchedulerPlanTest, ShutdownReleasesPrefixes) {
  HoldPrefix(Prefix(40));
  scheduler_->CancelAll(now_);
  EXPECT_FALSE(scheduler_->idle());
  EXPECT_THAT(Next(), ElementsAre("free 1"));
  Answer();
  EXPECT_TRUE(scheduler_->idle());
}

TEST_F(SchedulerPlanTest, ProbesOfThePromptAreRowsAndOthersComeWithTheToken) {
  EngineRequest request = Generate(20, 2);
  request.probe.argmax = true;
  Submit(request);
  RunAll();
  std::vector<int64_t> rows;
  std::vector<size_t> with_tokens;
  for (const SchedulerEvent& event : scheduler_->TakeEvents()) {
    if (event.kind == SchedulerEvent::Kind::kRows) {
      rows.push_back(event.first);
      ASSERT_EQ(event.outcome.probes.size(), 1u);
      EXPECT_FALSE(event.outcome.has_token);
    } else if (event.kind == SchedulerEvent::Kind::kToken) {
      with_tokens.push_back(event.outcome.probes.size());
    }
  }
  EXPECT_THAT(rows, ElementsAre(0, 16));
  EXPECT_THAT(with_tokens, ElementsAre(0, 1));
}

// 65,536 heads with six values each: 1.5 MiB for a row.
TEST_F(SchedulerPlanTest, RowsWithProbesAreBoundedByTheirAnswer) {
  EngineOptions options = Options();
  options.kv.num_layers = 64;
  options.kv.heads_per_kv_head = 1024;
  options.kv_capacity = {.unit_rank = std::vector<int>(64, 0),
                         .rank_bytes = {int64_t{1} << 40}};
  options.max_step_tokens = 64;
  options.prefill_chunk = 64;
  Use(options);
  EngineRequest request = Generate(60, 1);
  request.probe = {.argmax = true, .distance_sets = {{1}, {2}, {3}, {4}}};
  Submit(request);
  Submit(request);
  Submit(Generate(10, 1));
  EXPECT_THAT(Next(), ElementsAre("3@0+10*", "1@0+21"));
  EXPECT_THAT(Next(), ElementsAre("1@21+21"));
}

}  // namespace
}  // namespace headwise
