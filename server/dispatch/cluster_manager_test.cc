#include "server/dispatch/cluster_manager.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/dispatch/fake_worker_link.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class FakeClock final : public Clock {
 public:
  absl::Time Now() const override {
    absl::MutexLock lock(&mutex_);
    return now_;
  }
  void Advance(absl::Duration by) {
    absl::MutexLock lock(&mutex_);
    now_ += by;
  }

 private:
  mutable absl::Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_) = absl::UnixEpoch();
};

// Remembers what it was told.
class FakeEngine final : public Engine {
 public:
  absl::StatusOr<uint64_t> Submit(EngineRequest,
                                  std::shared_ptr<RequestSink>) override {
    return absl::UnimplementedError("fake");
  }
  void Cancel(uint64_t) override {}
  void Suspend(absl::Status reason) override {
    history.push_back("suspend");
    last_reason = reason;
  }
  void Resume(int64_t tokens) override {
    history.push_back("resume " + std::to_string(tokens));
  }
  EngineStats stats() const override { return engine_stats; }

  std::vector<std::string> history;
  absl::Status last_reason;
  EngineStats engine_stats;
};

ModelShape Shape() {
  ModelShape shape;
  shape.num_layers = 2;
  shape.num_units = 3;
  shape.num_mlp_tiles = 4;
  shape.num_vocab_tiles = 5;
  shape.heads_per_kv_head = 3;
  shape.head_dim = 64;
  shape.model_dim = 576;
  shape.unit_weight_bytes = 1000;
  shape.mlp_tile_weight_bytes = 1000;
  shape.vocab_tile_weight_bytes = 1000;
  shape.kv_bytes_per_unit_position = 256;
  return shape;
}

class ClusterManagerTest : public testing::Test {
 protected:
  ClusterManagerTest() { Rebuild(1); }

  void Rebuild(size_t min_workers) {
    ClusterManagerOptions options;
    options.former.model_path = "m.gguf";
    options.former.shape = Shape();
    options.former.kv_capacity_bytes = 1 << 20;
    options.former.prepare_stall_timeout = absl::Milliseconds(200);
    options.min_workers = min_workers;
    options.on_change = [this](const GroupChange& change) {
      EXPECT_EQ(change.group, GroupChoice::kSharedMemory);
      changes_.push_back(change.reason.code());
    };
    manager_ = nullptr;
    manager_ = std::make_unique<ClusterManager>(
        options, ClusterManagerDeps{membership_, dispatcher_, engine_, clock_,
                                    [this](const MemberInfo& info) {
                                      auto& link = links_[info.name];
                                      if (link == nullptr) {
                                        link =
                                            std::make_shared<FakeWorkerLink>();
                                      }
                                      return link;
                                    }});
  }

  uint64_t AddWorker(const std::string& name, double speed = 1.0) {
    MemberInfo info;
    info.name = name;
    info.host_id = "host";
    info.version = "v";
    info.speed = speed;
    return membership_.Register(info).value();
  }

  FakeWorkerLink& Link(const std::string& name) {
    auto& link = links_[name];
    if (link == nullptr) link = std::make_shared<FakeWorkerLink>();
    return *link;
  }

  std::vector<std::string> Serving() const {
    std::vector<std::string> names;
    const auto group = manager_->status().group;
    if (group == nullptr) return {};
    for (const Member& m : group->members) names.push_back(m.info.name);
    return names;
  }

  FakeClock clock_;
  Membership membership_{{.version = "v", .first_epoch = 1000}, clock_};
  ClusterDispatcher dispatcher_{{}, clock_};
  FakeEngine engine_;
  std::map<std::string, std::shared_ptr<FakeWorkerLink>> links_;
  std::vector<absl::StatusCode> changes_;
  std::unique_ptr<ClusterManager> manager_;
};

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
  EXPECT_THAT(engine_.history, ElementsAre("resume 2112"));
  EXPECT_THAT(changes_, ElementsAre(absl::StatusCode::kOk));
}

TEST_F(ClusterManagerTest, OrdersShareTheWorkAndTheKv) {
  AddWorker("a");
  AddWorker("b");
  manager_->RunOnce();
  const PrepareOrder a = Link("a").orders().at(0);
  const PrepareOrder b = Link("b").orders().at(0);
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

TEST_F(ClusterManagerTest, DeadWorkerIsExcludedAndTheRestServesAgain) {
  AddWorker("a");
  AddWorker("b");
  manager_->RunOnce();
  const uint64_t epoch = Link("a").orders().at(0).membership_epoch;
  Link("b").probe_status = absl::UnavailableError("connection refused");
  Link("b").Break(absl::UnavailableError("socket closed"));
  manager_->RunOnce();
  EXPECT_FALSE(manager_->status().serving) << "the back-off is not over";
  EXPECT_EQ(engine_.last_reason.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(engine_.last_reason.message(), HasSubstr("socket closed"));
  EXPECT_EQ(membership_.view()->members.size(), 1u);
  clock_.Advance(absl::Milliseconds(100));
  manager_->RunOnce();
  EXPECT_THAT(Serving(), ElementsAre("a"));
  EXPECT_GT(Link("a").orders().at(1).membership_epoch, epoch);
  EXPECT_EQ(Link("a").orders().at(1).shard.num_units(), 6);
  EXPECT_THAT(engine_.history,
              ElementsAre("resume 2112", "suspend", "resume 1024"));
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
  clock_.Advance(absl::Milliseconds(100));
  manager_->RunOnce();
  EXPECT_THAT(Serving(), ElementsAre("a", "b"));
}

TEST_F(ClusterManagerTest, SilentHeartbeatEndsTheGroup) {
  const uint64_t a = AddWorker("a");
  AddWorker("b");
  manager_->RunOnce();
  clock_.Advance(absl::Seconds(2));
  ASSERT_TRUE(membership_.Heartbeat(a).ok());
  clock_.Advance(absl::Seconds(2));
  manager_->RunOnce();
  EXPECT_FALSE(manager_->status().serving);
  EXPECT_THAT(engine_.last_reason.message(), HasSubstr("b has left"));
  EXPECT_FALSE(Link("a").open());
  clock_.Advance(absl::Milliseconds(100));
  manager_->RunOnce();
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
  manager_->RunOnce();  // ends the old group
  clock_.Advance(absl::Milliseconds(200));
  manager_->RunOnce();
  EXPECT_THAT(Serving(), ElementsAre("a", "b"));

  engine_.engine_stats.running = 0;
  AddWorker("c");
  beat();
  manager_->RunOnce();
  clock_.Advance(absl::Milliseconds(400));
  manager_->RunOnce();
  EXPECT_THAT(Serving(), ElementsAre("a", "b", "c"));
}

TEST_F(ClusterManagerTest, UnfitWorkerIsLeftOutForTheQuarantine) {
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

TEST_F(ClusterManagerTest, AllRefusingBacksOffAndBlamesNobody) {
  AddWorker("a");
  AddWorker("b");
  for (const char* name : {"a", "b"}) {
    Link(name).prepare_status = absl::NotFoundError("no such model");
  }
  int attempts = 0;
  for (int turn = 0; turn < 28; ++turn) {  // 2.8 s
    manager_->RunOnce();
    attempts = Link("a").orders().size();
    clock_.Advance(absl::Milliseconds(100));
  }
  // At 0, 0.1, 0.3, 0.7, 1.5 s; the next would be at 3.1 s.
  EXPECT_EQ(attempts, 5);
  EXPECT_EQ(membership_.view()->members.size(), 2u);
}

TEST_F(ClusterManagerTest, WorkerThatNeverAnswersPrepareIsExcluded) {
  AddWorker("a");
  AddWorker("b");
  Link("b").answers_prepare = false;
  manager_->RunOnce();
  EXPECT_EQ(membership_.view()->members.size(), 1u);
  clock_.Advance(absl::Milliseconds(100));
  manager_->RunOnce();
  EXPECT_THAT(Serving(), ElementsAre("a"));
}

TEST_F(ClusterManagerTest, FailedJoinExcludesOnlyWhoIsSilent) {
  AddWorker("a");
  AddWorker("b");
  Link("a").join_status = absl::DeadlineExceededError("waited for rank 1");
  Link("b").probe_status = absl::DeadlineExceededError("frozen");
  manager_->RunOnce();
  ASSERT_EQ(membership_.view()->members.size(), 1u);
  EXPECT_EQ(membership_.view()->members[0].info.name, "a");
}

TEST_F(ClusterManagerTest, ThreadFormsAndWaitReturns) {
  manager_->Start();
  EXPECT_EQ(manager_->WaitUntilServing(absl::Milliseconds(1)).code(),
            absl::StatusCode::kDeadlineExceeded);
  AddWorker("a");
  EXPECT_TRUE(manager_->WaitUntilServing(absl::Seconds(10)).ok());
}

TEST(ResolveGroupTest, SharedMemoryOnlyIfAllHostsAreKnownAndEqual) {
  const auto members = [](std::vector<std::string> hosts) {
    std::vector<Member> out;
    for (const std::string& host : hosts) {
      out.emplace_back();
      out.back().info.host_id = host;
    }
    return out;
  };
  const auto resolve = [&](std::vector<std::string> hosts) {
    return ResolveGroup(GroupChoice::kAuto, members(std::move(hosts)));
  };
  EXPECT_EQ(resolve({"h"}), GroupChoice::kSharedMemory);
  EXPECT_EQ(resolve({"h", "h"}), GroupChoice::kSharedMemory);
  EXPECT_EQ(resolve({"h", "i"}), GroupChoice::kGloo);
  EXPECT_EQ(resolve({"", ""}), GroupChoice::kGloo);
  EXPECT_EQ(ResolveGroup(GroupChoice::kGloo, members({"h", "h"})),
            GroupChoice::kGloo);
}

TEST(KvCapacityTokensTest, LeastOverRanksThatHoldUnits) {
  PlacementPlan plan;
  plan.ranks.resize(3);
  plan.ranks[0].num_units = 4;
  plan.ranks[1].num_units = 2;
  plan.ranks[2].num_units = 0;
  const std::vector<PreparedRank> prepared = {
      {"", 0, 11}, {"", 0, 7}, {"", 0, 0}};
  EXPECT_EQ(KvCapacityTokens(plan, prepared), 2 * 64);
}

}  // namespace
}  // namespace headwise
