// A worker that is short of memory, by a control group, and one that crashes
// again and again.

#include <signal.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cluster/served_cluster.h"
#include "tests/support/control_group.h"

namespace headwise {
namespace {

using testing::ContainsRegex;
using testing::IsEmpty;

class LimitedWorkerTest : public ServedCluster {};

// Case 6: the kernel kills a worker whose group has no memory left, in the
// middle of a prefill that needs some.
TEST_F(LimitedWorkerTest, AWorkerKilledForItsMemoryCostsAPause) {
  UseTinyModel();
  ASSERT_FALSE(HasFatalFailure());
  StartServing(1);
  ASSERT_FALSE(HasFatalFailure());
  const v1::GenerateRequest request = PromptOf(20'000, 20);
  AskUndisturbed(request);
  StartWorker("w1");  // which has no memory of an earlier answer to use again
  ASSERT_TRUE(WaitForWorldSize(2)) << Logs();
  const auto group = ControlGroup::Create();
  ASSERT_TRUE(group.ok()) << group.status();
  ASSERT_TRUE((*group)->Add(workers_[1]->pid()).ok());
  ASSERT_TRUE((*group)->LimitMemory(1 << 20).ok());
  const HeardAnswer answer = AskUntilWhole(request, {});
  EXPECT_EQ(answer.text, fault_free_.answers()[0].text);
  EXPECT_EQ(workers_[1]->Wait(kReady).value_or(0), -SIGKILL);
  EXPECT_GE((*group)->NumMemoryKills().value_or(0), 1);
  EXPECT_TRUE(coordinator_->IsRunning());
  EXPECT_TRUE(WaitForWorldSize(1)) << Logs();
  EXPECT_EQ(Metric("headwise_rebuilds_total"), 1.0);
  ExpectInvariants();
}

// Case 8: each crash but the first costs it twice the time, and the others
// nothing meanwhile.
TEST_F(LimitedWorkerTest, AWorkerThatCrashesAgainAndAgainIsLeftOutForLonger) {
  UseTinyModel();
  ASSERT_FALSE(HasFatalFailure());
  StartServing(1);
  ASSERT_FALSE(HasFatalFailure());
  const v1::GenerateRequest request = Request(100);
  AskUndisturbed(request);
  constexpr int kCrashes = 4;
  for (int crash = 1; crash <= kCrashes; ++crash) {
    SCOPED_TRACE(crash);
    StartWorker("w1");
    ASSERT_TRUE(WaitForWorldSize(2)) << Logs();
    workers_.back()->Signal(SIGKILL);
    AskUntilWhole(request, {});
    ASSERT_TRUE(WaitForWorldSize(1)) << Logs();
  }
  for (const char* left_out : {"3s", "6s", "12s"}) {
    EXPECT_THAT(coordinator_->Log(),
                ContainsRegex(absl::StrCat("worker w1 [a-z ]+: left out for ",
                                           left_out)));
  }
  EXPECT_EQ(Metric("headwise_worker_arrivals_total", "worker=\"w1\""),
            kCrashes);
  EXPECT_TRUE(workers_[0]->IsRunning());
  EXPECT_THAT(history_.CheckTokens(fault_free_), IsEmpty());
  EXPECT_THAT(history_.CheckEnds(), IsEmpty());
}

}  // namespace
}  // namespace headwise
