// Who is left out, and for how long, when workers fail.

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/dispatch/cluster_manager_fixture.h"

namespace headwise {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

using ClusterBlameTest = ClusterManagerFixture;

TEST_F(ClusterBlameTest, UnfitWorkerIsLeftOutForTheQuarantine) {
  const uint64_t a = AddWorker("a");
  const uint64_t b = AddWorker("b");
  Link("b").prepare_status = absl::NotFoundError("no such model");
  manager_->RunOnce();
  EXPECT_THAT(manager_->status().detail, HasSubstr("b could not prepare"));
  clock_.Advance(absl::Milliseconds(100));
  manager_->RunOnce();
  EXPECT_THAT(Serving(), ElementsAre("a"));
  Link("b").prepare_status = absl::OkStatus();
  for (int second = 0; second < 31; ++second) {
    clock_.Advance(absl::Seconds(1));
    ASSERT_TRUE(membership_.Heartbeat(a).ok());
    ASSERT_TRUE(membership_.Heartbeat(b).ok());
    manager_->RunOnce();
  }
  EXPECT_THAT(Serving(), ElementsAre("a", "b"));
}

TEST_F(ClusterBlameTest, AllRefusingBacksOffAndBlamesNobody) {
  AddWorker("a");
  AddWorker("b");
  for (const char* name : {"a", "b"}) {
    Link(name).prepare_status = absl::NotFoundError("no such model");
  }
  int attempts = 0;
  for (int turn = 0; turn < 28; ++turn) {  // 2.8 s
    manager_->RunOnce();
    attempts = Link("a").configs().size();
    clock_.Advance(absl::Milliseconds(100));
  }
  // At 0, 0.1, 0.3, 0.7, 1.5 s; the next would be at 3.1 s.
  EXPECT_EQ(attempts, 5);
  EXPECT_EQ(membership_.view()->members.size(), 2u);
}

TEST_F(ClusterBlameTest, WorkerThatNeverAnswersPrepareIsExcluded) {
  AddWorker("a");
  AddWorker("b");
  Link("b").answers_prepare = false;
  manager_->RunOnce();
  EXPECT_EQ(membership_.view()->members.size(), 1u);
  clock_.Advance(absl::Milliseconds(100));
  manager_->RunOnce();
  EXPECT_THAT(Serving(), ElementsAre("a"));
}

// Case 12: who dies while others load is found at once, and they are not
// blamed for loading.
TEST_F(ClusterBlameTest, WorkerThatDiesWhileOthersLoadIsNotWaitedFor) {
  Rebuild(1, /*stall_timeout=*/absl::Hours(1));
  AddWorker("a");
  AddWorker("b");
  Link("a").answers_prepare = false;  // loads for long
  Link("b").prepare_status = absl::UnavailableError("connection reset");
  manager_->RunOnce();
  ASSERT_EQ(membership_.view()->members.size(), 1u);
  EXPECT_EQ(membership_.view()->members[0].info.name, "a");
  Link("a").answers_prepare = true;
  manager_->RunOnce();
  EXPECT_THAT(Serving(), ElementsAre("a"));
}

// Nor one that has prepared, and is not heard of since.
TEST_F(ClusterBlameTest, WorkerThatFallsSilentWhileOthersLoadIsNotWaitedFor) {
  Rebuild(1, /*stall_timeout=*/absl::Hours(1));
  AddWorker("a");
  AddWorker("b");
  Link("a").answers_prepare = false;  // loads for long
  Link("b").on_prepare = [this] {
    clock_.Advance(absl::Seconds(2));
    Beat("a");
    clock_.Advance(absl::Seconds(2));
  };
  manager_->RunOnce();
  EXPECT_THAT(log_, Contains("worker b is silent: taken for dead"));
  EXPECT_THAT(manager_->status().detail,
              HasSubstr("worker b could not prepare: it has left"));
  Link("a").answers_prepare = true;
  manager_->RunOnce();
  EXPECT_THAT(Serving(), ElementsAre("a"));
}

TEST_F(ClusterBlameTest, FailedJoinExcludesOnlyWhoIsSilent) {
  AddWorker("a");
  AddWorker("b");
  Link("a").join_status = absl::DeadlineExceededError("waited for rank 1");
  Link("b").probe_status = absl::DeadlineExceededError("frozen");
  manager_->RunOnce();
  ASSERT_EQ(membership_.view()->members.size(), 1u);
  EXPECT_EQ(membership_.view()->members[0].info.name, "a");
}

// In ten minutes a worker that stays bad costs a healthy group a handful of
// interruptions: each after 10 s of patience and 30 s, 60 s, ... of quarantine;
// 3 s, 6 s, ... if it can't be reached.
TEST_F(ClusterBlameTest, WorkerThatNeverPreparesHarmsEverMoreSeldom) {
  for (const auto& status : {absl::UnavailableError("connection refused"),
                             absl::NotFoundError("no such model")}) {
    SCOPED_TRACE(status.ToString());
    links_.clear();
    engine_ = {};
    Rebuild(1);
    Link("b").prepare_status = status;
    AddWorker("a");
    manager_->RunOnce();
    engine_.engine_stats.running = 1;
    Live(600, {"a", "b"});
    EXPECT_GE(NumSuspends(), 3);
    EXPECT_LE(NumSuspends(), 8);
    EXPECT_THAT(Serving(), ElementsAre("a"));
    Link("b").prepare_status = absl::OkStatus();
    Live(600, {"a", "b"});
    EXPECT_THAT(Serving(), ElementsAre("a", "b")) << "cured in the end";
  }
}

TEST_F(ClusterBlameTest, GroupIsNotGivenUpForANewcomerThatIsSilent) {
  AddWorker("a");
  manager_->RunOnce();
  Link("b").probe_status = absl::UnavailableError("connection refused");
  Live(600, {"a", "b"});
  EXPECT_EQ(NumSuspends(), 0);
  EXPECT_THAT(Serving(), ElementsAre("a"));
  EXPECT_THAT(log_, Contains("worker b does not answer: left out for 3s"));
}

// Case 5: it answers probes, and its peers wait for it in vain again and again.
TEST_F(ClusterBlameTest, WorkerThatKeepsOthersWaitingIsLeftOut) {
  for (const char* name : {"a", "b", "c"}) AddWorker(name);
  manager_->RunOnce();
  ASSERT_THAT(Serving(), ElementsAre("a", "b", "c"));
  const auto wait_for_b = [this] {
    Step step;
    step.step_id = 1;
    step.slices.resize(1);
    step.slices[0].tokens = {1};
    dispatcher_.Submit(std::move(step), [](absl::StatusOr<StepResult>) {});
    StepAnswer answer;
    answer.membership_epoch = manager_->status().group->membership_epoch;
    answer.step_id = 1;
    answer.result = absl::DeadlineExceededError(
        "rank 2 ended the group: rank 2 waited 2.5s for rank 1 in epoch 7");
    Link("a").listener().on_answer(std::move(answer));
    manager_->RunOnce();
    clock_.Advance(absl::Seconds(1));
    for (const char* name : {"a", "b", "c"}) Beat(name);
    manager_->RunOnce();
  };
  wait_for_b();
  EXPECT_THAT(Serving(), ElementsAre("a", "b", "c")) << "the first is free";
  wait_for_b();
  EXPECT_THAT(Serving(), ElementsAre("a", "c"));
  EXPECT_THAT(log_, Contains("worker b kept others waiting: left out for 3s"));
  Live(20, {"a", "b", "c"});
  EXPECT_THAT(Serving(), ElementsAre("a", "b", "c")) << "it gets a chance";
}

TEST_F(ClusterBlameTest, FailuresAreForgivenAfterASettledGroup) {
  AddWorker("a");
  AddWorker("b");
  Link("b").prepare_status = absl::NotFoundError("no such model");
  manager_->RunOnce();
  Link("b").prepare_status = absl::OkStatus();
  Live(45, {"a", "b"});
  ASSERT_THAT(Serving(), ElementsAre("a", "b")) << "for 14 s";
  Link("b").Break(absl::UnavailableError("killed, and started again"));
  Live(1, {"a", "b"});
  Live(1, {"a", "b"});
  EXPECT_THAT(Serving(), ElementsAre("a", "b"));
}

TEST_F(ClusterBlameTest, WorkerThatDiesInEachGroupIsLeftOut) {
  AddWorker("a");
  AddWorker("b");
  manager_->RunOnce();
  for (int death = 0; death < 2; ++death) {
    ASSERT_THAT(Serving(), ElementsAre("a", "b")) << death;
    // It leaves before its stream breaks, and is back at once.
    AddWorker("b");
    Live(2, {"a", "b"});
  }
  EXPECT_THAT(Serving(), ElementsAre("a"));
}

TEST_F(ClusterBlameTest, WorkerThatAnswersWronglyIsLeftOut) {
  AddWorker("a");
  AddWorker("b");
  manager_->RunOnce();
  ASSERT_THAT(Serving(), ElementsAre("a", "b"));
  AnswerWrongly("a");
  Live(2, {"a", "b"});
  EXPECT_THAT(Serving(), ElementsAre("b"));
  EXPECT_EQ(membership_.view()->members.size(), 2u) << "it is alive";
  EXPECT_THAT(log_, Contains("worker a answered wrongly: left out for 30s"));
}

TEST_F(ClusterBlameTest, JoinThatNamesNobodyTwiceDropsTheNewest) {
  AddWorker("c");
  AddWorker("a");
  AddWorker("b");  // the one that nobody reaches
  for (const char* name : {"a", "b", "c"}) {
    Link(name).join_status = absl::DeadlineExceededError("waited");
  }
  manager_->RunOnce();
  Live(1, {"a", "b", "c"});
  for (const char* name : {"a", "c"}) Link(name).join_status = {};
  Live(1, {"a", "b", "c"});
  EXPECT_THAT(Serving(), ElementsAre("a", "c"));
}

TEST_F(ClusterBlameTest, WorkerThatCallsEveryEpochOldIsLeftOut) {
  AddWorker("a");
  AddWorker("b");
  Link("b").newest_epoch = ~uint64_t{0};
  manager_->RunOnce();
  Live(45, {"a", "b"});
  EXPECT_THAT(Serving(), ElementsAre("a"));
  EXPECT_LT(Link("a").configs().back().membership_epoch, uint64_t{1} << 36);
}

TEST_F(ClusterBlameTest, LastWorkerThatCannotJoinIsTriedOnAndOn) {
  AddWorker("a");
  Link("a").join_status = absl::InternalError("no port");
  manager_->RunOnce();
  Live(60, {"a"});
  EXPECT_GT(Link("a").configs().size(), 10u);
}

TEST_F(ClusterBlameTest, WorkerWithoutRoomForKvIsUnfit) {
  AddWorker("a");
  AddWorker("b");
  Link("b").kv_capacity_blocks = 0;
  manager_->RunOnce();
  EXPECT_THAT(manager_->status().detail, HasSubstr("room for 0 blocks"));
  Live(1, {"a", "b"});
  EXPECT_THAT(Serving(), ElementsAre("a"));
}

}  // namespace
}  // namespace headwise
