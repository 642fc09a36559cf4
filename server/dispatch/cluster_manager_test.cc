#include "server/dispatch/cluster_manager.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/dispatch/cluster_manager_fixture.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using ClusterManagerTest = ClusterManagerFixture;

TEST_F(ClusterManagerTest, FormsOnceEnoughWorkersHaveCome) {
  Rebuild(2);
  AddWorker("a");
  manager_->RunOnce();
  EXPECT_FALSE(manager_->status().serving);
  EXPECT_THAT(manager_->status().detail, HasSubstr("1 workers"));
  AddWorker("b");
  manager_->RunOnce();
  EXPECT_THAT(Serving(), ElementsAre("a", "b"));
  EXPECT_TRUE(Link("a").open() && Link("b").open());
  EXPECT_THAT(Link("b").endpoints(), ElementsAre("endpoint 0", "endpoint 1"));
  // Three units of 100 blocks each: 33 whole blocks of 64 positions.
  EXPECT_THAT(engine_.history, ElementsAre("resume 3276800"));
  EXPECT_THAT(changes_, ElementsAre(absl::StatusCode::kOk));
}

TEST_F(ClusterManagerTest, OrdersShareTheWorkAndTheKv) {
  AddWorker("a");
  AddWorker("b");
  manager_->RunOnce();
  const WorkerConfig a = Link("a").configs().at(0);
  const WorkerConfig b = Link("b").configs().at(0);
  EXPECT_EQ(a.membership_epoch, b.membership_epoch);
  EXPECT_EQ(a.world_size, 2);
  EXPECT_EQ(a.rank, 0);
  EXPECT_EQ(b.rank, 1);
  EXPECT_EQ(a.shard.num_units() + b.shard.num_units(), 6);
  EXPECT_EQ(a.group, GroupChoice::kSharedMemory);
  // Together at most what is allowed, in whole blocks; by units.
  EXPECT_LE(a.kv_capacity_bytes + b.kv_capacity_bytes, 1 << 20);
  EXPECT_EQ(a.kv_capacity_bytes * b.shard.num_units(),
            b.kv_capacity_bytes * a.shard.num_units());
  EXPECT_GT(a.kv_capacity_bytes, (1 << 19) - 64 * 6 * 256);
}

TEST_F(ClusterManagerTest, SurvivorsKeepThePiecesThatTheyHad) {
  for (const char* name : {"a", "b", "c"}) AddWorker(name);
  manager_->RunOnce();
  ASSERT_THAT(Serving(), ElementsAre("a", "b", "c"));
  Link("b").probe_status = absl::UnavailableError("connection refused");
  Link("b").Break(absl::UnavailableError("socket closed"));
  manager_->RunOnce();
  ASSERT_THAT(Serving(), ElementsAre("a", "c"));
  for (const char* name : {"a", "c"}) {
    SCOPED_TRACE(name);
    const Shard before = Link(name).configs().at(0).shard;
    const Shard after = Link(name).configs().at(1).shard;
    for (size_t layer = 0; layer < before.layers.size(); ++layer) {
      EXPECT_THAT(after.layers[layer].units,
                  testing::IsSupersetOf(before.layers[layer].units));
      EXPECT_THAT(after.layers[layer].mlp_tiles,
                  testing::IsSupersetOf(before.layers[layer].mlp_tiles));
    }
    EXPECT_THAT(after.vocab_tiles, testing::IsSupersetOf(before.vocab_tiles));
  }
}

TEST_F(ClusterManagerTest, DeadWorkerIsExcludedAndTheRestServesAgain) {
  AddWorker("a");
  AddWorker("b");
  manager_->RunOnce();
  const uint64_t epoch = Link("a").configs().at(0).membership_epoch;
  Link("b").probe_status = absl::UnavailableError("connection refused");
  Link("b").Break(absl::UnavailableError("socket closed"));
  manager_->RunOnce();
  EXPECT_EQ(engine_.last_reason.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(engine_.last_reason.message(), HasSubstr("socket closed"));
  EXPECT_EQ(engine_.last_end, GroupEnd::kLost);
  EXPECT_EQ(membership_.view()->members.size(), 1u);
  EXPECT_THAT(Serving(), ElementsAre("a")) << "others wait for no back-off";
  EXPECT_THAT(log_.back(), HasSubstr("after 2000 ms without a group, requests "
                                     "go on: 3; no longer fit: 1"));
  EXPECT_GT(Link("a").configs().at(1).membership_epoch, epoch);
  EXPECT_EQ(Link("a").configs().at(1).shard.num_units(), 6);
  EXPECT_THAT(engine_.history,
              ElementsAre("resume 3276800", "suspend", "resume 1638400"));
  EXPECT_THAT(changes_,
              ElementsAre(absl::StatusCode::kOk, absl::StatusCode::kUnavailable,
                          absl::StatusCode::kOk));
}

TEST_F(ClusterManagerTest, GroupLostWithoutADeathKeepsAllWorkers) {
  AddWorker("a");
  AddWorker("b");
  manager_->RunOnce();
  Link("a").Break(absl::UnavailableError("reset"));
  manager_->RunOnce();
  EXPECT_FALSE(manager_->status().serving) << "the back-off is not over";
  clock_.Advance(absl::Milliseconds(100));
  manager_->RunOnce();
  EXPECT_THAT(Serving(), ElementsAre("a", "b"));
}

// The clock of the coordinator went back, or it moved to another machine.
TEST_F(ClusterManagerTest, EpochsCatchUpWithWhatWorkersHaveSeen) {
  constexpr uint64_t kHour = 3600 * 1000;
  Link("a").newest_epoch = 1000 + kHour;
  AddWorker("a");
  manager_->RunOnce();
  Live(10, {"a"});
  EXPECT_THAT(Serving(), ElementsAre("a"));
}

TEST_F(ClusterManagerTest, SilentHeartbeatEndsTheGroup) {
  const uint64_t a = AddWorker("a");
  AddWorker("b");
  manager_->RunOnce();
  clock_.Advance(absl::Seconds(2));
  ASSERT_TRUE(membership_.Heartbeat(a).ok());
  clock_.Advance(absl::Seconds(2));
  manager_->RunOnce();
  EXPECT_THAT(engine_.last_reason.message(), HasSubstr("b has left"));
  EXPECT_THAT(Serving(), ElementsAre("a"));
}

TEST_F(ClusterManagerTest, NewcomerWaitsForIdleOrPatience) {
  const uint64_t a = AddWorker("a");
  manager_->RunOnce();
  engine_.engine_stats.running = 1;
  const uint64_t b = AddWorker("b");
  const auto beat = [&] {
    ASSERT_TRUE(membership_.Heartbeat(a).ok());
    ASSERT_TRUE(membership_.Heartbeat(b).ok());
  };
  for (int second = 0; second < 10; ++second) {
    manager_->RunOnce();
    EXPECT_THAT(Serving(), ElementsAre("a")) << second;
    clock_.Advance(absl::Seconds(1));
    beat();
  }
  clock_.Advance(absl::Milliseconds(1));
  manager_->RunOnce();
  EXPECT_EQ(engine_.last_end, GroupEnd::kPlanned);
  EXPECT_THAT(Serving(), ElementsAre("a", "b"));

  engine_.engine_stats.running = 0;
  AddWorker("c");
  beat();
  manager_->RunOnce();
  EXPECT_THAT(Serving(), ElementsAre("a", "b", "c"));
}

TEST_F(ClusterManagerTest, ReasonOfNoGroupIsLoggedOncePerChange) {
  Rebuild(2);
  AddWorker("a");
  Live(3, {"a"});
  EXPECT_THAT(log_, ElementsAre("no group: 1 workers are ready, needed 2"));
  AddWorker("b");
  Link("b").prepare_status = absl::NotFoundError("no such model");
  Live(4, {"a", "b"});
  ASSERT_EQ(log_.size(), 4u) << testing::PrintToString(log_);
  EXPECT_EQ(log_[3],
            "no group: 1 workers are ready, needed 2; b is left out after it "
            "failed");
}

TEST_F(ClusterManagerTest, ThreadFormsAndWaitReturns) {
  manager_->Start();
  EXPECT_EQ(manager_->WaitUntilServing(absl::Milliseconds(1)).code(),
            absl::StatusCode::kDeadlineExceeded);
  AddWorker("a");
  EXPECT_TRUE(manager_->WaitUntilServing(absl::Seconds(10)).ok());
}

}  // namespace
}  // namespace headwise
