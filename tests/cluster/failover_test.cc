// The leader of several coordinators dies, is frozen, restarts or forgets,
// under streams that must not notice but for a pause.

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/cluster/failover_fixture.h"
#include "tests/cluster/served_cluster.h"

namespace headwise {
namespace {

using testing::HasSubstr;

constexpr int kTokens = 1500;

class FailoverTest : public FailoverFixture {};

TEST_F(FailoverTest, AStandbySaysWhoLeadsAndIsNotReady) {
  ASSERT_NO_FATAL_FAILURE(StartEtcd());
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  const int leader = Leader();
  const size_t standby = 1 - leader;
  EXPECT_TRUE(IsServing(leader, "headwise.v1.Inference"));
  EXPECT_FALSE(IsServing(standby, "headwise.v1.Inference"));
  EXPECT_FALSE(IsServing(standby, "leader"));
  EXPECT_TRUE(IsServing(standby, "")) << "it is well";
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kReady));
  const auto stream = v1::Inference::NewStub(coordinators_[standby].channel)
                          ->Generate(&context, Ask(4));
  v1::GenerateResponse response;
  EXPECT_FALSE(stream->Read(&response));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("standby of the leader at " +
                                                coordinators_[leader].address));
  EXPECT_TRUE(HasRetryInfo(status));
  google::rpc::Status rich;
  ASSERT_TRUE(rich.ParseFromString(status.error_details()));
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(rich.details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "NOT_LEADER");
  EXPECT_EQ(info.metadata().at("leader"), coordinators_[leader].address);
}

TEST_F(FailoverTest, AKilledLeadersStreamsGoOnAtTheStandby) {
  num_workers_ = 2;
  ASSERT_NO_FATAL_FAILURE(StartEtcd());
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  const int leader = Leader();
  const uint64_t epoch = Epoch();
  ExpectWholeUnder(3, 300, [&] {
    const absl::Time killed = Clock::Monotonic().Now();
    coordinators_[leader].process->Signal(SIGKILL);
    EXPECT_TRUE(WaitForLeader(1 - leader)) << Logs();
    // The lease, a look, and what a loaded machine takes.
    EXPECT_LT(Clock::Monotonic().Now() - killed,
              absl::Seconds(lease_seconds_ + 8));
  });
  EXPECT_GT(Epoch(), epoch);
}

TEST_F(FailoverTest, AFrozenLeaderComesBackAsAStandby) {
  ASSERT_NO_FATAL_FAILURE(StartEtcd());
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  const int old_leader = Leader();
  const uint64_t old_epoch = Epoch();
  uint64_t epoch = 0;
  ExpectWholeUnder(2, kTokens, [&] {
    coordinators_[old_leader].process->Signal(SIGSTOP);
    EXPECT_TRUE(WaitForLeader(1 - old_leader)) << Logs();
    EXPECT_TRUE(WaitForGroup()) << Logs();
    epoch = Epoch();
    coordinators_[old_leader].process->Signal(SIGCONT);
  });
  EXPECT_GT(epoch, old_epoch);
  EXPECT_TRUE(WaitUntil(
      [&] {
        return absl::StrContains(coordinators_[old_leader].process->Log(),
                                 "standby of the leader at " +
                                     coordinators_[1 - old_leader].address);
      },
      kReady))
      << Logs();
  EXPECT_FALSE(IsServing(old_leader, "leader"));
  EXPECT_TRUE(IsServing(1 - old_leader, "leader"));
  // Nothing that it still ordered has reached the group that stands now.
  EXPECT_EQ(Epoch(), epoch) << Logs();
}

TEST_F(FailoverTest, CoordinatorsRestartInTurnAndNoRequestFails) {
  ASSERT_NO_FATAL_FAILURE(StartEtcd());
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  ExpectWholeUnder(2, kTokens, [&] {
    for (int i = 0; i < 2; ++i) {
      Coordinator& coordinator = coordinators_[Leader()];
      const size_t index = &coordinator - coordinators_.data();
      const std::string address = coordinator.address;
      coordinator.process->Signal(SIGTERM);
      EXPECT_EQ(coordinator.process->Wait(kReady).value_or(-1), 0);
      StartCoordinator(index, address);
      EXPECT_TRUE(WaitUntil([&] { return Leader() >= 0; }, kReady)) << Logs();
    }
  });
}

TEST_F(FailoverTest, AKilledMemberOfEtcdChangesNothing) {
  lease_seconds_ = 6;  // etcd takes 2 s to elect a leader of its own
  ASSERT_NO_FATAL_FAILURE(StartEtcd(3));
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  const int leader = Leader();
  const uint64_t epoch = Epoch();
  ExpectWholeUnder(2, kTokens, [&] {
    etcd_->member(0).Signal(SIGKILL);
    // Longer than the lease: it was renewed by the members that are left.
    EXPECT_FALSE(WaitUntil([&] { return Leader() != leader; },
                           absl::Seconds(2 * lease_seconds_)))
        << Logs();
  });
  EXPECT_EQ(Epoch(), epoch) << Logs();
}

TEST_F(FailoverTest, EtcdThatHasLostAllCostsAPause) {
  ASSERT_NO_FATAL_FAILURE(StartEtcd());
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  const uint64_t epoch = Epoch();
  ExpectWholeUnder(2, kTokens, [&] {
    const absl::Status wiped = etcd_->Wipe();
    EXPECT_TRUE(wiped.ok()) << wiped;
    EXPECT_TRUE(WaitUntil([&] { return Epoch() > epoch; }, kReady)) << Logs();
  });
  EXPECT_TRUE(WaitForGroup()) << Logs();
}

}  // namespace
}  // namespace headwise
