// A group that is stopped in the middle of its forming.

#ifndef HEADWISE_TESTS_CLUSTER_FORMING_FIXTURE_H_
#define HEADWISE_TESTS_CLUSTER_FORMING_FIXTURE_H_

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "base/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cluster/frozen_thread.h"
#include "tests/cluster/served_cluster.h"

namespace headwise {

// Case 12. The model is large enough for its loading to be stopped.
class FormingFixture : public ServedCluster {
 protected:
  // w0 serves and w1 comes: a group of both is formed, for which w0 is ready
  // and w1 loads, since its engine hangs.
  void StopInTheMiddle(const std::vector<std::string>& flags) {
    StartServing(1, flags);
    ASSERT_FALSE(HasFatalFailure());
    AskUndisturbed(request_);
    ASSERT_FALSE(HasFatalFailure());
    StartWorker("w1");
    ASSERT_TRUE(WaitForLog(1, "rank 1 of 2 loads its share")) << Logs();
    newcomer_ = HangEngine(1);
    ASSERT_NE(newcomer_, nullptr);
    ASSERT_TRUE(WaitForLog(0, "rank 0 of 2 may join")) << Logs();
    ASSERT_FALSE(absl::StrContains(workers_[1]->Log(), "may join")) << Logs();
    struck_at_ = Clock::Monotonic().Now();
  }

  // Its process lives on.
  std::unique_ptr<FrozenThread> HangEngine(size_t worker,
                                           bool once_it_is_idle = false) {
    const pid_t pid = workers_[worker]->pid();
    const std::vector<pid_t> tids = ThreadsOf(pid, "hw-worker");
    EXPECT_FALSE(tids.empty());
    if (tids.empty()) return nullptr;
    // Those that it has started, such as Gloo's, have its name too.
    const pid_t engine = *std::min_element(tids.begin(), tids.end());
    if (once_it_is_idle) {
      EXPECT_TRUE(WaitUntil([&] { return IsAsleep(pid, engine); }, kReady));
    }
    auto frozen = FrozenThread::Freeze(engine);
    EXPECT_TRUE(frozen.ok()) << frozen.status();
    return frozen.ok() ? *std::move(frozen) : nullptr;
  }

  bool WaitForLog(size_t worker, const std::string& text) {
    return WaitUntil(
        [&] { return absl::StrContains(workers_[worker]->Log(), text); },
        kReady);
  }

  // w0 is ready too, and does not come where w1 waits for it. w1 serves alone,
  // and with w0 once that goes on.
  void ExpectARankThatDoesNotJoinIsLeftOut(const std::string& group) {
    StopInTheMiddle({"--group", group});
    ASSERT_FALSE(HasFatalFailure());
    auto missing = HangEngine(0, /*once_it_is_idle=*/true);
    ASSERT_NE(missing, nullptr);
    newcomer_.reset();
    AskUntilWhole(request_, {});
    // Ten to join, then the loading; the rest is for a loaded machine.
    EXPECT_LT(Since(struck_at_), absl::Seconds(40)) << Logs();
    EXPECT_TRUE(WaitForWorldSize(1)) << Logs();
    EXPECT_THAT(workers_[1]->Log(),
                testing::HasSubstr("rank 1 of 2 did not join: "));
    EXPECT_THAT(coordinator_->Log(), testing::HasSubstr("worker w0 is gone"));
    missing.reset();
    ExpectBothServe();
  }

  void ExpectBothServe() {
    EXPECT_TRUE(WaitForWorldSize(2)) << Logs();
    for (const auto& worker : workers_) EXPECT_TRUE(worker->IsRunning());
    AskUntilWhole(request_, {});
    ExpectInvariants();
  }

  const v1::GenerateRequest request_ = Request(30);
  std::unique_ptr<FrozenThread> newcomer_;  // the engine of w1
};

}  // namespace headwise

#endif  // HEADWISE_TESTS_CLUSTER_FORMING_FIXTURE_H_
