#include "server/dispatch/cluster_dispatcher.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "base/fake_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/dispatch/fake_worker_link.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Step OneRow(uint64_t step_id) {
  Step step;
  step.step_id = step_id;
  step.slices.resize(1);
  step.slices[0].tokens = {1};
  return step;
}

// The status of a step, once it has one.
struct Outcome {
  absl::Notification done;
  absl::Status status;
  uint64_t step_id = 0;
};

class ClusterDispatcherTest : public testing::Test {
 protected:
  void SetUp() override { SetGroup(1); }

  void SetGroup(uint64_t epoch) {
    dispatcher_.SetGroup(
        {epoch, GroupChoice::kInProcess, {"w0", "w1"}, {links_[0], links_[1]}},
        [this](const GroupLoss& loss) {
          absl::MutexLock lock(&mutex_);
          lost_.push_back(loss);
        });
  }

  std::shared_ptr<Outcome> Submit(uint64_t step_id) {
    auto outcome = std::make_shared<Outcome>();
    dispatcher_.Submit(OneRow(step_id),
                       [outcome](absl::StatusOr<StepResult> result) {
                         outcome->status = result.status();
                         if (result.ok()) outcome->step_id = result->step_id;
                         outcome->done.Notify();  // a second call would abort
                       });
    return outcome;
  }

  size_t num_lost() {
    absl::MutexLock lock(&mutex_);
    return lost_.size();
  }

  GroupLoss last_lost() {
    absl::MutexLock lock(&mutex_);
    return lost_.at(lost_.size() - 1);
  }

  ClusterDispatcherOptions Options() {
    ClusterDispatcherOptions options;
    options.may_command = [this] { return may_command_.load(); };
    options.limits = {.vocab_size = 10, .model_dim = 4};
    return options;
  }

  std::atomic<bool> may_command_ = true;
  FakeClock clock_;
  absl::Mutex mutex_;
  std::vector<GroupLoss> lost_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<FakeWorkerLink>> links_ = {
      std::make_shared<FakeWorkerLink>(), std::make_shared<FakeWorkerLink>()};
  ClusterDispatcher dispatcher_{Options(), clock_};
};

TEST_F(ClusterDispatcherTest, EveryRankGetsEveryStepAndAllMustAnswer) {
  const auto first = Submit(7);
  const auto second = Submit(8);
  EXPECT_EQ(links_[0]->num_steps(), 2u);
  EXPECT_EQ(links_[1]->num_steps(), 2u);
  EXPECT_TRUE(links_[0]->Answer({}, true));
  EXPECT_TRUE(links_[0]->Answer({}, true));
  EXPECT_FALSE(first->done.HasBeenNotified());
  EXPECT_TRUE(links_[1]->Answer({}, false));
  ASSERT_TRUE(first->done.HasBeenNotified());
  EXPECT_TRUE(first->status.ok());
  EXPECT_EQ(first->step_id, 7u);
  EXPECT_FALSE(second->done.HasBeenNotified());
  EXPECT_TRUE(links_[1]->Answer({}, false));
  EXPECT_TRUE(second->done.HasBeenNotified());
  EXPECT_EQ(num_lost(), 0u);
}

TEST_F(ClusterDispatcherTest, BrokenStreamEndsAllStepsAndClosesTheOthers) {
  const auto first = Submit(1);
  const auto second = Submit(2);
  links_[1]->Break(absl::UnavailableError("socket closed"));
  for (const auto& outcome : {first, second}) {
    ASSERT_TRUE(outcome->done.HasBeenNotified());
    EXPECT_EQ(outcome->status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(outcome->status.message(), HasSubstr("socket closed"));
  }
  EXPECT_EQ(num_lost(), 1u);
  EXPECT_EQ(last_lost().rank, 1u);
  EXPECT_FALSE(last_lost().is_wrong) << "its process may just have ended";
  EXPECT_FALSE(links_[0]->open()) << "its worker would wait in a collective";
  EXPECT_FALSE(links_[1]->open());
}

TEST_F(ClusterDispatcherTest, SubmitWithoutGroupFailsButNotFromWithin) {
  links_[0]->Break(absl::UnavailableError("gone"));
  const auto outcome = Submit(1);
  outcome->done.WaitForNotification();
  EXPECT_EQ(outcome->status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(links_[0]->num_steps(), 0u);
}

TEST_F(ClusterDispatcherTest, WhoMayNotCommandSendsNothingAndLosesTheGroup) {
  const auto sent = Submit(1);
  may_command_ = false;
  const auto refused = Submit(2);
  refused->done.WaitForNotification();
  EXPECT_TRUE(absl::IsUnavailable(refused->status)) << refused->status;
  EXPECT_TRUE(absl::IsUnavailable(sent->status)) << sent->status;
  EXPECT_FALSE(links_[0]->open());
  ASSERT_EQ(num_lost(), 1u);
  EXPECT_EQ(last_lost().rank, std::nullopt) << "no worker's fault";
}

TEST_F(ClusterDispatcherTest, SameRefusalLeavesTheGroupStanding) {
  const auto refused = Submit(1);
  links_[0]->Answer(absl::ResourceExhaustedError("blocks"), false);
  links_[1]->Answer(absl::ResourceExhaustedError("blocks"), false);
  ASSERT_TRUE(refused->done.HasBeenNotified());
  EXPECT_EQ(refused->status.code(), absl::StatusCode::kResourceExhausted);
  const auto next = Submit(2);
  links_[0]->Answer({}, true);
  links_[1]->Answer({}, false);
  ASSERT_TRUE(next->done.HasBeenNotified());
  EXPECT_TRUE(next->status.ok());
  EXPECT_EQ(num_lost(), 0u);
}

TEST_F(ClusterDispatcherTest, ErrorOfOneRankLosesTheGroupOnce) {
  const auto outcome = Submit(1);
  links_[1]->Answer(absl::InternalError("NaN in layer 2"), false);
  ASSERT_TRUE(outcome->done.HasBeenNotified());
  EXPECT_EQ(outcome->status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(outcome->status.message(), HasSubstr("NaN in layer 2"));
  EXPECT_EQ(num_lost(), 1u);
  EXPECT_EQ(last_lost().rank, 1u);
  EXPECT_FALSE(last_lost().is_wrong);
}

TEST_F(ClusterDispatcherTest, WrongAnswerNamesItsRank) {
  Submit(1);
  links_[0]->Answer({}, /*with_slices=*/false);
  ASSERT_EQ(num_lost(), 1u);
  EXPECT_EQ(last_lost().rank, 0u);
  EXPECT_TRUE(last_lost().is_wrong);
}

TEST_F(ClusterDispatcherTest, FailureOfAPeerNamesNobody) {
  Submit(1);
  links_[0]->Answer(absl::DeadlineExceededError("waited for rank 1"), false);
  ASSERT_EQ(num_lost(), 1u);
  EXPECT_EQ(last_lost().rank, std::nullopt);
}

TEST_F(ClusterDispatcherTest, DeadlineCountsFromTheLastAnswerOfAnyRank) {
  const auto outcome = Submit(1);
  const absl::Duration limit = absl::Seconds(3) + absl::Milliseconds(10);
  clock_.Advance(limit);
  dispatcher_.CheckDeadline();
  EXPECT_FALSE(outcome->done.HasBeenNotified()) << "the limit itself is fine";
  links_[0]->Answer({}, true);  // progress
  clock_.Advance(limit);
  dispatcher_.CheckDeadline();
  EXPECT_FALSE(outcome->done.HasBeenNotified());
  clock_.Advance(absl::Nanoseconds(1));
  dispatcher_.CheckDeadline();
  outcome->done.WaitForNotification();
  EXPECT_EQ(outcome->status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(num_lost(), 1u);
}

TEST_F(ClusterDispatcherTest, FilesHaveTime) {
  Step step;
  step.step_id = 1;
  step.parks.resize(1);
  absl::Notification done;
  dispatcher_.Submit(std::move(step),
                     [&](absl::StatusOr<StepResult>) { done.Notify(); });
  clock_.Advance(absl::Minutes(10));
  dispatcher_.CheckDeadline();
  EXPECT_EQ(num_lost(), 0u);
  clock_.Advance(absl::Seconds(4));
  dispatcher_.CheckDeadline();
  done.WaitForNotification();
  EXPECT_EQ(num_lost(), 1u);
}

TEST_F(ClusterDispatcherTest, IdleGroupHasNoDeadline) {
  clock_.Advance(absl::Hours(1));
  dispatcher_.CheckDeadline();
  const auto outcome = Submit(1);
  dispatcher_.CheckDeadline();  // the hour before it does not count
  EXPECT_FALSE(outcome->done.HasBeenNotified());
  EXPECT_EQ(num_lost(), 0u);
}

TEST_F(ClusterDispatcherTest, LateAnswersOfAnOlderGroupAreIgnored) {
  Submit(1);
  const StepListener older = links_[0]->listener();
  links_[1]->Break(absl::UnavailableError("gone"));
  SetGroup(2);
  const auto outcome = Submit(1);
  StepAnswer late;
  late.membership_epoch = 1;
  late.step_id = 1;
  late.result = StepResult{.results = {{}}};
  older.on_answer(late);
  older.on_broken(absl::UnavailableError("late"));
  links_[1]->Answer({}, false);
  EXPECT_FALSE(outcome->done.HasBeenNotified());
  links_[0]->Answer({}, true);
  EXPECT_TRUE(outcome->done.HasBeenNotified());
  EXPECT_EQ(num_lost(), 1u);
}

TEST_F(ClusterDispatcherTest, AnswerWithAnotherEpochLosesTheGroup) {
  const auto outcome = Submit(1);
  StepAnswer forged;
  forged.membership_epoch = 9;
  forged.step_id = 1;
  forged.result = StepResult{.results = {{}}};
  links_[0]->listener().on_answer(forged);
  ASSERT_TRUE(outcome->done.HasBeenNotified());
  EXPECT_THAT(outcome->status.message(), HasSubstr("epoch 9"));
  EXPECT_EQ(last_lost().rank, 0u);
  EXPECT_TRUE(last_lost().is_wrong);
}

TEST_F(ClusterDispatcherTest, ClearGroupTellsNobodyButTheSteps) {
  const auto outcome = Submit(1);
  dispatcher_.ClearGroup(absl::UnavailableError("growing"));
  ASSERT_TRUE(outcome->done.HasBeenNotified());
  EXPECT_EQ(outcome->status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(num_lost(), 0u);
  dispatcher_.ClearGroup(absl::UnavailableError("again: no effect"));
}

TEST(ClusterDispatcherLifeTest, DestructorEndsWhatIsInFlight) {
  FakeClock clock;
  auto link = std::make_shared<FakeWorkerLink>();
  absl::Status status;
  StepListener listener;
  {
    ClusterDispatcher dispatcher({}, clock);
    dispatcher.SetGroup({1, GroupChoice::kInProcess, {"w"}, {link}},
                        [](const GroupLoss&) { FAIL(); });
    dispatcher.Submit(OneRow(1), [&status](absl::StatusOr<StepResult> result) {
      status = result.status();
    });
    listener = link->listener();
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  listener.on_broken(absl::UnavailableError("after the end"));  // must be safe
}

TEST(ClusterDispatcherLifeTest, ClearGroupWaitsForCallbacksThatRun) {
  FakeClock clock;
  auto link = std::make_shared<FakeWorkerLink>();
  absl::Notification entered;
  absl::Notification leave;
  ClusterDispatcherOptions options;
  options.on_sample = [&](const StepSample&) {
    entered.Notify();
    leave.WaitForNotification();
  };
  ClusterDispatcher dispatcher(options, clock);
  dispatcher.SetGroup({1, GroupChoice::kInProcess, {"w"}, {link}},
                      [](const GroupLoss&) {});
  dispatcher.Submit(OneRow(1), [](absl::StatusOr<StepResult>) {});
  std::thread answer([&] { link->Answer({}, true); });
  entered.WaitForNotification();
  std::atomic<bool> cleared = false;
  std::thread clear([&] {
    dispatcher.ClearGroup(absl::CancelledError("end"));
    cleared = true;
  });
  // Clearing has begun once the link is closed, and can't end before `leave`.
  while (link->open()) std::this_thread::yield();
  EXPECT_FALSE(cleared);
  leave.Notify();
  answer.join();
  clear.join();
  EXPECT_TRUE(cleared);
}

}  // namespace
}  // namespace headwise
