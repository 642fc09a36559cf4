// Programs of two versions in one cluster: one follows the other while clients
// ask, both serve side by side, and those that can't work together are refused.
//
// The other version is this one in all but what it says of itself
// (tests/support/pretended_build.cc); next_messages_test.cc has messages as it
// may send them.

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cluster/failover_fixture.h"
#include "tests/cluster/served_cluster.h"

namespace headwise {
namespace {

using testing::HasSubstr;

// Case 61: from this version to the next, or back.
class RollTest : public FailoverFixture,
                 public testing::WithParamInterface<bool> {
 protected:
  static constexpr int kNumClients = 3;

  // While `change` runs, clients ask without a pause.
  template <typename Change>
  void ExpectWholeWhile(int num_tokens, Change change) {
    std::vector<Heard> expected;
    for (int i = 0; i < kNumClients; ++i) {
      expected.push_back(Generate(Ask(num_tokens, i)));
      ASSERT_TRUE(expected.back().status.ok()) << expected.back().status;
    }
    std::atomic<bool> is_over = false;
    std::vector<std::vector<Heard>> heard(kNumClients);
    std::vector<std::thread> clients;
    for (size_t i = 0; i < heard.size(); ++i) {
      clients.emplace_back([&, i] {
        while (!is_over) heard[i].push_back(Generate(Ask(num_tokens, i)));
      });
    }
    change();
    is_over = true;
    for (std::thread& client : clients) client.join();
    for (size_t i = 0; i < heard.size(); ++i) {
      EXPECT_FALSE(heard[i].empty());
      for (const Heard& one : heard[i]) ExpectWhole(one, expected[i]);
    }
  }

  void RestartWorker(size_t index) {
    workers_[index]->Signal(SIGTERM);
    EXPECT_EQ(workers_[index]->Wait(kReady).value_or(-1), 0) << Logs();
    StartWorker(index);
  }
  void RestartCoordinator(size_t index) {
    Coordinator& coordinator = coordinators_[index];
    coordinator.process->Signal(SIGTERM);
    EXPECT_EQ(coordinator.process->Wait(kReady).value_or(-1), 0) << Logs();
    StartCoordinator(index, coordinator.address);
  }

  // The group has all workers, so many of them of `build`, and speaks
  // `protocol`; its coordinator is of `version`.
  bool WaitForBuilds(const std::string& build, int num_workers,
                     uint32_t protocol, const std::string& version) {
    return WaitUntil(
        [&] {
          const auto map = client_->GetHeadMap({});
          if (!map.ok() ||
              map->world_size() != static_cast<uint32_t>(num_workers_) ||
              map->protocol() != protocol || map->version() != version) {
            return false;
          }
          int num_of_build = 0;
          for (const v1::WorkerShare& worker : map->workers()) {
            if (worker.version() == build) ++num_of_build;
          }
          return num_of_build == num_workers;
        },
        kReady);
  }
};

TEST_P(RollTest, EverythingRestartsInTurnAndNoRequestFails) {
  const bool is_forward = GetParam();
  const BuildInfo from = is_forward ? OwnBuild() : NextBuild();
  const BuildInfo to = is_forward ? NextBuild() : OwnBuild();
  const uint32_t common = OwnBuild().protocols.newest;
  num_workers_ = 2;
  if (!is_forward) build_ = from;
  ASSERT_NO_FATAL_FAILURE(StartEtcd());
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  ASSERT_TRUE(
      WaitForBuilds(from.version, 2, from.protocols.newest, from.version))
      << Logs();
  build_ = is_forward ? std::optional<BuildInfo>(to) : std::nullopt;
  ExpectWholeWhile(200, [&] {
    RestartWorker(0);
    EXPECT_TRUE(WaitForBuilds(to.version, 1, common, from.version)) << Logs();
    // The standby first: then there is one change of leaders.
    const int old_leader = Leader();
    ASSERT_GE(old_leader, 0) << Logs();
    RestartCoordinator(static_cast<size_t>(1 - old_leader));
    RestartCoordinator(static_cast<size_t>(old_leader));
    EXPECT_TRUE(WaitForBuilds(to.version, 1, common, to.version)) << Logs();
    RestartWorker(1);
    EXPECT_TRUE(WaitForBuilds(to.version, 2, to.protocols.newest, to.version))
        << Logs();
  });
}

INSTANTIATE_TEST_SUITE_P(Direction, RollTest, testing::Bool(),
                         [](const auto& info) {
                           return info.param ? "ToTheNext" : "AndBack";
                         });

// Case 63. Is the coordinator of the next version; how the workers add.
class MixedTest
    : public ServedCluster,
      public testing::WithParamInterface<std::tuple<bool, const char*>> {
 protected:
  std::vector<std::string> VersionsOfGroup(uint32_t* protocol) {
    v1::HeadMap map;
    std::vector<std::string> versions;
    const auto context = Context();
    EXPECT_TRUE(admin_->GetHeadMap(context.get(), {}, &map).ok());
    for (const v1::WorkerShare& worker : map.workers()) {
      versions.push_back(worker.version());
    }
    *protocol = map.protocol();
    return versions;
  }
};

TEST_P(MixedTest, BothVersionsServeWithTheSameBits) {
  constexpr int kNumRequests = 8;
  const auto [is_next, group] = GetParam();
  UseTinyModel();
  Started coordinator = {.flags = {"--group", group, "--grow-patience", "0.1"}};
  if (is_next) coordinator.build = NextBuild();
  StartServer(1, coordinator);
  ASSERT_FALSE(HasFatalFailure());
  StartWorker("w0");
  ASSERT_TRUE(WaitForWorldSize(1)) << Logs();
  const v1::GenerateRequest long_one = Request(300, kNumRequests);
  AskUndisturbed(long_one);
  for (int seed = 0; seed < kNumRequests; ++seed) {
    AskUndisturbed(Request(60, seed));
  }
  StartWorkerWith("w1", {.build = NextBuild()});
  StartWorkerWith("w2", {.build = NextBuild()});
  ASSERT_TRUE(WaitForWorldSize(3)) << Logs();
  uint32_t protocol = 0;
  EXPECT_THAT(VersionsOfGroup(&protocol),
              testing::ElementsAre(OwnBuild().version, NextBuild().version,
                                   NextBuild().version));
  EXPECT_EQ(protocol, OwnBuild().protocols.newest);
  for (int seed = 0; seed < kNumRequests; ++seed) {
    AskUntilWhole(Request(60, seed), {});
  }
  // One of the next version dies, one of this comes.
  AskUntilWhole(long_one, {.on_token = [&](size_t number, auto&) {
                  if (number == 20) workers_[2]->Signal(SIGKILL);
                }});
  ASSERT_TRUE(WaitForWorldSize(2)) << Logs();
  StartWorker("w3");
  ASSERT_TRUE(WaitForWorldSize(3)) << Logs();
  for (int seed = 0; seed < kNumRequests; ++seed) {
    AskUntilWhole(Request(60, seed), {});
  }
  EXPECT_EQ(Metric("headwise_worker_build_info",
                   absl::StrCat("version=\"", NextBuild().version, "\"")),
            1.0);
  ExpectInvariants();
}

INSTANTIATE_TEST_SUITE_P(Clusters, MixedTest,
                         testing::Combine(testing::Bool(),
                                          testing::Values("shm", "gloo")),
                         [](const auto& info) {
                           return absl::StrCat(
                               std::get<0>(info.param) ? "Next" : "This",
                               "CoordinatorOver", std::get<1>(info.param));
                         });

class RefusedBuildTest : public ServedCluster {
 protected:
  // A worker of `build` is refused with `why`, which it and the coordinator
  // log; those that are here serve on.
  void ExpectRefused(const BuildInfo& build, const std::string& why) {
    SCOPED_TRACE(TextOf(build));
    StartWorkerWith(build.version, {.build = build});
    ChildProcess& refused = *workers_.back();
    EXPECT_TRUE(WaitUntil([&] { return absl::StrContains(refused.Log(), why); },
                          kReady))
        << why << Logs();
    EXPECT_THAT(coordinator_->Log(), HasSubstr(why));
    EXPECT_TRUE(refused.IsRunning()) << "its coordinator may be on its way";
    EXPECT_TRUE(WaitForWorldSize(1));
    AskUntilWhole(Request(10), {});
  }
};

TEST_F(RefusedBuildTest, OtherNumericsOrProtocolsAreRefusedWithBothValues) {
  UseTinyModel();
  StartServing(1);
  ASSERT_FALSE(HasFatalFailure());
  const BuildInfo& own = OwnBuild();
  ExpectRefused({"other-bits", own.protocols, own.numerics + 1},
                absl::StrCat("worker other-bits of build other-bits has "
                             "numerics ",
                             own.numerics + 1, ", the coordinator of build ",
                             own.version, " has ", own.numerics));
  const uint32_t later = own.protocols.newest + 1;
  ExpectRefused({"other-words", {later, later + 1}, own.numerics},
                absl::StrCat("worker other-words of build other-words speaks "
                             "protocols ",
                             later, " to ", later + 1,
                             ", the coordinator of build ", own.version,
                             " and its workers speak ", TextOf(own.protocols)));
}

}  // namespace
}  // namespace headwise
