// Faults that take their time: a worker that is frozen, links that are down, a
// caller that vanished.

#include <signal.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "tests/cluster/served_cluster.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/virtual_network.h"

namespace headwise {
namespace {

using testing::IsEmpty;

class SlowFaultTest : public ServedCluster {};

// Case 4.
TEST_F(SlowFaultTest, AWorkerFrozenForThirtySecondsIsFencedAndComesBack) {
  UseTinyModel();
  ASSERT_FALSE(HasFatalFailure());
  StartServing(2);
  ASSERT_FALSE(HasFatalFailure());
  const v1::GenerateRequest request = Request(150);
  AskUndisturbed(request);
  const uint64_t epoch = MembershipEpoch();
  AskWithFault(request, [&] { workers_[0]->Signal(SIGSTOP); });
  // A collective gives up after 2.5 s; then a group forms and the text is made
  // again. The rest is for a loaded machine.
  EXPECT_LT(Since(struck_at_), absl::Seconds(20)) << Logs();
  EXPECT_TRUE(WaitForWorldSize(1)) << Logs();
  while (Since(struck_at_) < absl::Seconds(30)) {
    AskUntilWhole(request, {});
  }
  const uint64_t without = MembershipEpoch();
  EXPECT_GT(without, epoch);
  workers_[0]->Signal(SIGCONT);
  EXPECT_TRUE(WaitForWorldSize(2)) << Logs();
  EXPECT_GT(MembershipEpoch(), without);
  AskUntilWhole(request, {});
  ExpectInvariants();
}

// Case 19, of a caller: the server's pings, every 20 s with 10 s of patience.
TEST_F(SlowFaultTest, ACallerThatVanishedIsFoundAndItsKvIsFree) {
  UseTinyModel(1 << 20);
  ASSERT_FALSE(HasFatalFailure());
  StartServing(1, {"--max-sequences", "1"});
  ASSERT_FALSE(HasFatalFailure());
  auto proxy = FaultProxy::Start(address_);
  ASSERT_TRUE(proxy.ok()) << proxy.status();
  const auto channel = grpc::CreateChannel((*proxy)->address(),
                                           grpc::InsecureChannelCredentials());
  const auto direct =
      std::exchange(inference_, v1::Inference::NewStub(channel));
  v1::GenerateRequest request = PromptOf(16, 1'000'000);
  const auto stream = Begin(request);
  const absl::Time begin = Clock::Monotonic().Now();
  (*proxy)->Refuse(true);
  (*proxy)->Vanish(ProxyEnd::kClient);
  EXPECT_TRUE(WaitForKvFreed(absl::Seconds(60))) << Logs();
  EXPECT_LT(Since(begin), absl::Seconds(45));
  // The one place there is can be had.
  EXPECT_TRUE(
      history_.Generate(*direct, Request(5), {.timeout = kReady}).is_whole());
}

// Workers on hosts of their own.
class LinkFaultTest : public SlowFaultTest {
 protected:
  void SetUp() override {
    SlowFaultTest::SetUp();
    auto network = VirtualNetwork::Create();
    ASSERT_TRUE(network.ok()) << network.status();
    network_ = *std::move(network);
  }
  // The processes end before the network that they are in.
  void TearDown() override {
    channel_ = nullptr;
    workers_.clear();
    coordinator_ = nullptr;
  }

  void StartHosts(int num_workers, const std::vector<std::string>& flags) {
    UseTinyModel();
    ASSERT_FALSE(HasFatalFailure());
    StartServer(num_workers,
                {.flags = flags, .host = VirtualNetwork::own_address()});
    ASSERT_FALSE(HasFatalFailure());
    for (int i = 0; i < num_workers; ++i) {
      const std::string name = "w" + std::to_string(i);
      const absl::Status added = network_->AddHost(name);
      ASSERT_TRUE(added.ok()) << added;
      StartWorkerWith(name, {.prefix = network_->PrefixOf(name),
                             .host = network_->AddressOf(name)});
    }
    ASSERT_TRUE(WaitForWorldSize(static_cast<size_t>(num_workers))) << Logs();
  }

  void SetLink(const std::string& name, bool is_up) {
    const absl::Status set = network_->SetLink(name, is_up);
    EXPECT_TRUE(set.ok()) << set;
  }

  std::unique_ptr<VirtualNetwork> network_;
};

// Case 14, the short one. TCP sends again, up to 1.6 s after the link is back,
// and a ping has 2 s: so the group may be lost, but no more than a pause is.
TEST_F(LinkFaultTest, ALinkThatIsDownForASecondCostsAPauseAtMost) {
  StartHosts(2, {});
  ASSERT_FALSE(HasFatalFailure());
  const v1::GenerateRequest request = Request(150);
  AskUndisturbed(request);
  AskWithFault(request, [&] {
    SetLink("w1", false);
    absl::SleepFor(absl::Seconds(1));
    SetLink("w1", true);
  });
  EXPECT_LT(Since(struck_at_), absl::Seconds(15)) << Logs();
  EXPECT_TRUE(WaitForWorldSize(2)) << Logs();
  ExpectInvariants();
}

// Case 14, the long one.
TEST_F(LinkFaultTest, ALinkThatIsDownForAMinuteIsFencedAndTakenBack) {
  StartHosts(2, {});
  ASSERT_FALSE(HasFatalFailure());
  const v1::GenerateRequest request = Request(150);
  AskUndisturbed(request);
  AskWithFault(request, [&] { SetLink("w1", false); });
  EXPECT_LT(Since(struck_at_), absl::Seconds(20)) << Logs();
  EXPECT_TRUE(WaitForWorldSize(1)) << Logs();
  while (Since(struck_at_) < absl::Seconds(60)) {
    AskUntilWhole(request, {});
  }
  SetLink("w1", true);
  EXPECT_TRUE(WaitForWorldSize(2)) << Logs();
  AskUntilWhole(request, {});
  ExpectInvariants();
}

// Case 16: both reach the coordinator, so nobody can say whose fault it is. The
// one that came last is left out, until it is tried again and the cut is gone.
TEST_F(LinkFaultTest, WorkersThatCantReachEachOtherBecomeAGroupWithoutTheCut) {
  StartHosts(2, {"--group", "gloo"});
  ASSERT_FALSE(HasFatalFailure());
  const v1::GenerateRequest request = Request(150);
  AskUndisturbed(request);
  AskWithFault(request, [&] {
    for (const char* name : {"w0", "w1"}) {
      const absl::Status cut = network_->CutOff(name, true);
      EXPECT_TRUE(cut.ok()) << cut;
    }
  });
  EXPECT_TRUE(WaitForWorldSize(1)) << Logs();
  // A collective, then two tries to join of up to 12 s.
  EXPECT_LT(Since(struck_at_), absl::Seconds(50)) << Logs();
  for (int i = 0; i < 3; ++i) AskUntilWhole(request, {});
  for (const char* name : {"w0", "w1"}) {
    EXPECT_TRUE(network_->CutOff(name, false).ok());
  }
  EXPECT_TRUE(WaitForWorldSize(2, absl::Minutes(2))) << Logs();
  AskUntilWhole(request, {});
  EXPECT_TRUE(WaitForKvFreed(absl::Seconds(20)));
  EXPECT_THAT(history_.CheckTokens(fault_free_), IsEmpty());
  EXPECT_THAT(history_.CheckEnds(), IsEmpty());
}

// Case 17: slow links change no bit and lose no group, and what they make late
// is refused at once.
TEST_F(LinkFaultTest, ALinkOfOneMegabitChangesNoToken) {
  StartHosts(2, {});
  ASSERT_FALSE(HasFatalFailure());
  const v1::GenerateRequest request = Request(150);
  AskUndisturbed(request);
  const uint64_t epoch = MembershipEpoch();
  const absl::Status slow = network_->LimitRate("w1", 1'000'000);
  ASSERT_TRUE(slow.ok()) << slow;
  for (int i = 0; i < 3; ++i) AskUntilWhole(request, {});
  EXPECT_EQ(MembershipEpoch(), epoch) << Logs();
  ExpectInvariants();
  // The forecast is of the link as it is now.
  History others;
  const HeardAnswer some = others.Generate(*inference_, PromptOf(100, 1));
  ASSERT_TRUE(some.is_whole()) << some.end->error_message();
  const absl::Duration took = some.ended_at - some.asked_at;
  const HeardAnswer late =
      others.Generate(*inference_, PromptOf(4000, 1), {.timeout = 5 * took});
  EXPECT_EQ(late.end->error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(late.end->error_message(),
              testing::HasSubstr("a prompt of 4000 tokens would take"));
  EXPECT_LT(late.ended_at - late.asked_at, std::max(took, absl::Seconds(2)));
}

}  // namespace
}  // namespace headwise
