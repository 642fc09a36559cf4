#include "server/scheduler/engine_loop.h"

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "base/fake_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/scheduler/model_workers.h"
#include "server/scheduler/recording_sink.h"

namespace headwise {
namespace {

using ::testing::ElementsAre;

using Done = std::function<void(absl::StatusOr<StepResult>)>;

EngineOptions Options() {
  return {.max_step_tokens = 48,
          .max_running_sequences = 6,
          .max_queued_requests = 64,
          .prefill_chunk = 13,
          .kv = kTinyKv,
          .kv_capacity = CapacityOf(1024),
          .max_context_len = 512};
}

EngineRequest Generate(int64_t prompt_len, int64_t max_new_tokens) {
  EngineRequest request;
  request.prompt.assign(prompt_len, 7);
  request.max_new_tokens = max_new_tokens;
  return request;
}

// Keeps steps until the test answers them.
class ManualDispatcher final : public Dispatcher {
 public:
  void Submit(Step step, Done done) override {
    if (on_submit) on_submit();
    sent.emplace_back(std::move(step), std::move(done));
  }
  void Answer() {
    auto [step, done] = std::move(sent.front());
    sent.pop_front();
    done(workers->Execute(step));
  }

  std::deque<std::pair<Step, Done>> sent;
  std::optional<ModelWorkers> workers{std::in_place, kTinyKv, CapacityOf(1024)};
  std::function<void()> on_submit;
};

class EngineLoopTest : public testing::Test {
 protected:
  std::shared_ptr<RecordingSink> Submit(EngineRequest request,
                                        int64_t stop_after = -1) {
    auto sink = std::make_shared<RecordingSink>(stop_after);
    const auto id = loop_.Submit(std::move(request), sink);
    EXPECT_TRUE(id.ok()) << id.status();
    return sink;
  }

  FakeClock clock_;
  ManualDispatcher dispatcher_;
  EngineLoop loop_{Options(), dispatcher_, clock_};
};

TEST_F(EngineLoopTest, StepFillsThePipelineAndThenHasNothingToDo) {
  EXPECT_FALSE(loop_.Step());
  const auto sink = Submit(Generate(3, 3));
  EXPECT_TRUE(loop_.Step());
  EXPECT_EQ(dispatcher_.sent.size(), 2u);
  EXPECT_FALSE(loop_.Step());
  dispatcher_.Answer();
  EXPECT_TRUE(loop_.Step());
  EXPECT_EQ(sink->tokens.size(), 1u);
  EXPECT_EQ(dispatcher_.sent.size(), 2u);
}

TEST_F(EngineLoopTest, SinkThatStopsHearsNoFurtherToken) {
  const auto sink = Submit(Generate(3, 9), /*stop_after=*/1);
  loop_.Step();
  dispatcher_.Answer();
  dispatcher_.Answer();  // both answers wait
  loop_.Step();
  EXPECT_EQ(sink->tokens.size(), 1u);
  EXPECT_EQ(sink->num_finished, 1);
  EXPECT_EQ(sink->end, absl::OkStatus());
}

// Workers that have a step can wait for the sinks; idle ones can not.
TEST_F(EngineLoopTest, IdleWorkersGetTheirStepBeforeTheSinksHear) {
  const auto sink = Submit(Generate(3, 9));
  std::vector<std::string> order;
  sink->on_token = [&] { order.push_back("token"); };
  loop_.Step();
  dispatcher_.on_submit = [&] { order.push_back("step"); };
  dispatcher_.Answer();
  loop_.Step();
  EXPECT_THAT(order, ElementsAre("token", "step"));
  order.clear();
  dispatcher_.Answer();
  dispatcher_.Answer();
  loop_.Step();
  EXPECT_THAT(order, ElementsAre("token", "step", "token", "step"));
}

TEST_F(EngineLoopTest, SinkMayCancelAndSubmitWhileItIsCalled) {
  std::shared_ptr<RecordingSink> second;
  const auto first = Submit(Generate(3, 9));
  first->on_token = [&] {
    loop_.Cancel(1);
    second = Submit(Generate(2, 1));
  };
  loop_.Step();
  dispatcher_.Answer();
  loop_.Step();
  EXPECT_EQ(first->end.code(), absl::StatusCode::kCancelled);
  dispatcher_.Answer();
  loop_.Step();
  dispatcher_.Answer();
  loop_.Step();
  EXPECT_EQ(second->end, absl::OkStatus());
}

TEST_F(EngineLoopTest, ShutdownCancelsFreesAndWaitsForStepsInFlight) {
  const auto sink = Submit(Generate(3, 9));
  loop_.Step();
  dispatcher_.Answer();
  loop_.Step();
  loop_.BeginShutdown();
  EXPECT_FALSE(loop_.finished());
  EXPECT_EQ(loop_.Submit(Generate(1, 1), nullptr).status().code(),
            absl::StatusCode::kUnavailable);
  loop_.Step();
  EXPECT_EQ(sink->end.code(), absl::StatusCode::kCancelled);
  while (!dispatcher_.sent.empty()) {
    EXPECT_FALSE(loop_.finished());
    dispatcher_.Answer();
    loop_.Step();
  }
  EXPECT_TRUE(loop_.finished());
  EXPECT_EQ(dispatcher_.workers->num_sequences(), 0);
}

TEST_F(EngineLoopTest, AwaitWorkReturnsForADeadlineThatHasPassed) {
  EngineRequest request = Generate(3, 9);
  request.deadline = clock_.Now() + absl::Seconds(1);
  const auto sink = Submit(request);
  loop_.Step();
  loop_.AwaitWork();  // the news of Submit
  clock_.Advance(absl::Seconds(1));
  loop_.AwaitWork();
  loop_.Step();
  EXPECT_EQ(sink->end.code(), absl::StatusCode::kDeadlineExceeded);
}

// After Suspend has returned no step of the lost group can reach the next one.
TEST_F(EngineLoopTest, SuspendWaitsForASubmitThatRuns) {
  absl::Notification in_submit;
  std::atomic<bool> has_suspended = false;
  std::thread suspender([&] {
    in_submit.WaitForNotification();
    loop_.Suspend(absl::UnavailableError("gone"), GroupEnd::kLost);
    has_suspended = true;
  });
  dispatcher_.on_submit = [&] {
    if (in_submit.HasBeenNotified()) return;
    in_submit.Notify();
    for (int i = 0; i < 1000; ++i) {
      std::this_thread::yield();
      EXPECT_FALSE(has_suspended);
    }
  };
  const auto sink = Submit(Generate(3, 9));
  loop_.Step();
  suspender.join();
  loop_.Step();
  EXPECT_EQ(sink->num_finished, 0) << "it waits for the next group";
  loop_.Close(absl::UnavailableError("shutting down"));
  loop_.Step();
  EXPECT_EQ(sink->end, absl::UnavailableError("shutting down"));
  EXPECT_EQ(loop_.Submit(Generate(1, 1), nullptr).status(),
            absl::UnavailableError("shutting down"));
}

TEST_F(EngineLoopTest, RefuseEndsRequestsAndKeepsWhatIsHeld) {
  const uint64_t prefix = loop_.HoldTokens({1, 2, 3}, nullptr, "");
  const auto running = Submit(Generate(3, 9));
  loop_.Step();
  loop_.Refuse(absl::UnavailableError("standby of b:1"));
  loop_.Step();
  EXPECT_EQ(running->end, absl::UnavailableError("standby of b:1"));
  EXPECT_EQ(loop_.Submit(Generate(1, 1), nullptr).status(),
            absl::UnavailableError("standby of b:1"));
  loop_.Refuse(absl::OkStatus());
  EngineRequest fork = Generate(2, 2);
  fork.fork_from = prefix;
  const auto again = Submit(fork);
  while (loop_.Step() || !dispatcher_.sent.empty()) {
    if (!dispatcher_.sent.empty()) dispatcher_.Answer();
  }
  EXPECT_EQ(again->end, absl::OkStatus());
}

// Nobody calls the loop then but its own clock.
TEST_F(EngineLoopTest, WithoutAGroupForTooLongRequestsEnd) {
  const auto sink = Submit(Generate(3, 9));
  loop_.Step();
  loop_.Suspend(absl::UnavailableError("gone"), GroupEnd::kLost);
  loop_.Step();
  loop_.AwaitWork();  // the news of Suspend
  clock_.Advance(Options().rebuild_wait);
  loop_.AwaitWork();
  loop_.Step();
  EXPECT_EQ(sink->end, absl::UnavailableError("gone"));
}

TEST_F(EngineLoopTest, TheNextGroupGoesOnWhereTheSinkIs) {
  const auto whole = ExpectedAnswerOf(Generate(3, 9)).tokens;
  const auto sink = Submit(Generate(3, 9));
  loop_.Step();
  dispatcher_.Answer();
  loop_.Step();
  dispatcher_.Answer();  // it is not heard of before the loss
  loop_.Suspend(absl::UnavailableError("gone"), GroupEnd::kLost);
  loop_.Step();
  EXPECT_EQ(sink->tokens.size(), 1u);
  while (!dispatcher_.sent.empty()) {
    dispatcher_.sent.front().second(absl::UnavailableError("gone"));
    dispatcher_.sent.pop_front();
  }
  dispatcher_.workers.emplace(kTinyKv, CapacityOf(1024));
  clock_.Advance(absl::Seconds(2));
  const ResumeReport report = loop_.Resume(CapacityOf(1024));
  EXPECT_EQ(report.num_rebuilt, 1);
  EXPECT_EQ(report.paused, absl::Seconds(2));
  while (loop_.Step() || !dispatcher_.sent.empty()) {
    if (!dispatcher_.sent.empty()) dispatcher_.Answer();
  }
  EXPECT_EQ(sink->end, absl::OkStatus());
  EXPECT_EQ(sink->tokens, whole);
}

}  // namespace
}  // namespace headwise
