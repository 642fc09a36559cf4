// What becomes of streams when the network between coordinator and workers
// goes wrong. The callers' links are sound.

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cluster/served_cluster.h"
#include "tests/support/fault_proxy.h"

namespace headwise {
namespace {

// Pings give up after 4 s, heartbeats after 3 s; then a group forms anew and
// the text is made again. The rest is for a loaded machine.
constexpr absl::Duration kMissedInTime = absl::Seconds(20);

// A group of w0, that is reached through a proxy, and w1, that is not.
class ProxiedWorkerTest : public ServedCluster {
 protected:
  void StartProxied() {
    UseTinyModel();
    ASSERT_FALSE(HasFatalFailure());
    StartServerAndProxiedWorker(2);
    ASSERT_FALSE(HasFatalFailure());
    StartWorker("w1");
    ASSERT_TRUE(WaitForWorldSize(2)) << Logs();
    AskUndisturbed(request_);
    epoch_ = MembershipEpoch();
  }

  v1::GenerateRequest request_ = Request(150);
  uint64_t epoch_ = 0;
};

TEST_F(ProxiedWorkerTest, DelayAndJitterOfATenthOfASecondChangeNoToken) {
  request_ = Request(20);
  StartProxied();
  ASSERT_FALSE(HasFatalFailure());
  AskWithFault(request_, [&] {
    proxy_->SetFaults(
        {.delay = absl::Milliseconds(100), .jitter = absl::Milliseconds(100)});
  });
  EXPECT_EQ(MembershipEpoch(), epoch_) << "a slow link is no lost worker";
  proxy_->SetFaults({});
  ExpectInvariants();
}

// Keepalive's budget is 4 s, a heartbeat's 3 s: then the rest serves.
TEST_F(ProxiedWorkerTest, AnswersThatAreLostOnTheirWayAreMissedInTime) {
  StartProxied();
  ASSERT_FALSE(HasFatalFailure());
  AskWithFault(request_, [&] {
    proxy_->SetFaults(ProxyEnd::kClient, {.is_blocked = true});
  });
  EXPECT_LT(Since(struck_at_), kMissedInTime) << Logs();
  EXPECT_TRUE(WaitForWorldSize(1)) << Logs();
  EXPECT_GT(MembershipEpoch(), epoch_);
  // And back, once packets pass again.
  proxy_->SetFaults({});
  EXPECT_TRUE(WaitForWorldSize(2)) << Logs();
  ExpectInvariants();
}

TEST_F(ProxiedWorkerTest, StepsThatAreLostOnTheirWayAreMissedInTime) {
  StartProxied();
  ASSERT_FALSE(HasFatalFailure());
  AskWithFault(request_, [&] {
    proxy_->SetFaults(ProxyEnd::kTarget, {.is_blocked = true});
  });
  EXPECT_LT(Since(struck_at_), kMissedInTime) << Logs();
  EXPECT_TRUE(WaitForWorldSize(1)) << Logs();
  ExpectInvariants();
}

TEST_F(ProxiedWorkerTest, ACutConnectionIsMadeAgainAndTheTextIsTheSame) {
  StartProxied();
  ASSERT_FALSE(HasFatalFailure());
  AskWithFault(request_, [&] { proxy_->Cut(); });
  EXPECT_TRUE(WaitForWorldSize(2)) << Logs();
  ExpectInvariants();
}

TEST_F(ProxiedWorkerTest, AFrameCutShortIsAnEndAndNoAnswer) {
  StartProxied();
  ASSERT_FALSE(HasFatalFailure());
  for (const ProxyEnd to : {ProxyEnd::kClient, ProxyEnd::kTarget}) {
    AskWithFault(request_, [&] { proxy_->TruncateAfter(to, 101); });
    EXPECT_TRUE(WaitForWorldSize(2)) << Logs();
  }
  EXPECT_TRUE(coordinator_->IsRunning());
  ExpectInvariants();
}

// The far end is gone and says nothing: case 19. The near end's pings find out.
TEST_F(ProxiedWorkerTest, AHalfOpenConnectionIsFoundAndItsPlaceIsFree) {
  StartProxied();
  ASSERT_FALSE(HasFatalFailure());
  AskWithFault(request_, [&] {
    proxy_->Refuse(true);
    proxy_->Vanish(ProxyEnd::kTarget);
  });
  EXPECT_LT(Since(struck_at_), kMissedInTime) << Logs();
  EXPECT_TRUE(WaitForWorldSize(1)) << Logs();
  proxy_->Refuse(false);
  EXPECT_TRUE(WaitForWorldSize(2)) << Logs();
  ExpectInvariants();
}

// One bit of 2,000 bytes, both ways, again and again. Nothing but TLS would
// find a flip that leaves a message whole, so what is said meanwhile is not
// compared.
// Case 18, without encryption: what a flip leaves readable its checksum
// betrays.
TEST_F(ProxiedWorkerTest, FlippedBitsChangeNoTokenAndEndNoProcess) {
  StartProxied();
  ASSERT_FALSE(HasFatalFailure());
  const absl::Time end = Clock::Monotonic().Now() + absl::Seconds(8);
  proxy_->SetFaults({.flip_one_in = 2000});
  while (Clock::Monotonic().Now() < end) {
    history_.Generate(*inference_, request_, {.timeout = absl::Seconds(4)});
  }
  proxy_->SetFaults({});
  proxy_->Cut();
  for (const auto& worker : workers_) EXPECT_TRUE(worker->IsRunning());
  EXPECT_TRUE(coordinator_->IsRunning());
  const HeardAnswer after = AskUntilWhole(request_, {});
  EXPECT_EQ(after.text, fault_free_.answers()[0].text);
  EXPECT_THAT(history_.CheckEnds(), testing::IsEmpty());
  EXPECT_THAT(history_.CheckTokens(fault_free_), testing::IsEmpty());
}

// A registration whose far end vanished: the coordinator's heartbeat limit of
// 3 s takes the worker out, and its place is free for the same name.
class ProxiedRegistrationTest : public ServedCluster {};

TEST_F(ProxiedRegistrationTest, AHalfOpenRegistrationIsOverInTime) {
  StartServer(1);
  ASSERT_FALSE(HasFatalFailure());
  auto proxy = FaultProxy::Start(address_);
  ASSERT_TRUE(proxy.ok()) << proxy.status();
  const std::string direct = std::exchange(address_, (*proxy)->address());
  StartWorker("w0");
  address_ = direct;
  ASSERT_TRUE(WaitForWorldSize(1)) << Logs();
  const absl::Time begin = Clock::Monotonic().Now();
  (*proxy)->Refuse(true);
  (*proxy)->Vanish(ProxyEnd::kClient);
  EXPECT_TRUE(WaitUntil(
      [&] {
        return Metric("headwise_worker_up", "w0") < 1 ||
               testing::Value(coordinator_->Log(),
                              testing::HasSubstr("is silent"));
      },
      absl::Seconds(20)))
      << Logs();
  EXPECT_LT(Since(begin), absl::Seconds(10));
  (*proxy)->Refuse(false);
  EXPECT_TRUE(WaitForWorldSize(1)) << Logs();
}

}  // namespace
}  // namespace headwise
