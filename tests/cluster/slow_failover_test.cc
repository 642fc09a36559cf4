// etcd does not answer for longer than any lease.

#include "tests/cluster/failover_fixture.h"

namespace headwise {
namespace {

class SlowFailoverTest : public FailoverFixture {};

TEST_F(SlowFailoverTest, EtcdFrozenForTwentySecondsStopsTheLeaderInTime) {
  ASSERT_NO_FATAL_FAILURE(StartEtcd());
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  const uint64_t epoch = Epoch();
  ExpectWholeUnder(2, 1500, [&] {
    const absl::Time frozen = Clock::Monotonic().Now();
    etcd_->Signal(SIGSTOP);
    EXPECT_TRUE(WaitUntil([&] { return Leader() < 0; }, kReady)) << Logs();
    EXPECT_LT(Clock::Monotonic().Now() - frozen,
              absl::Seconds(lease_seconds_ + 8));
    // Nobody leads, so nobody gives orders, until etcd is back.
    EXPECT_FALSE(
        WaitUntil([&] { return Leader() >= 0; },
                  frozen + absl::Seconds(20) - Clock::Monotonic().Now()))
        << Logs();
    etcd_->Signal(SIGCONT);
    EXPECT_TRUE(WaitUntil([&] { return Leader() >= 0; }, kReady)) << Logs();
  });
  EXPECT_GT(Epoch(), epoch);
}

}  // namespace
}  // namespace headwise
