#include "server/scheduler/engine.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "gtest/gtest.h"
#include "server/scheduler/model_workers.h"
#include "server/scheduler/recording_sink.h"

namespace headwise {
namespace {

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

// Runs steps on a thread of its own, or fails them as a lost group does. Two
// answers that wait together go out in reverse.
class ThreadedDispatcher final : public Dispatcher {
 public:
  ThreadedDispatcher() : thread_([this] { Run(); }) {}
  ~ThreadedDispatcher() override {
    {
      absl::MutexLock lock(&mutex_);
      stops_ = true;
    }
    thread_.join();
    EXPECT_EQ(workers_.num_sequences(), 0);
  }

  void Submit(Step step, Done done) override {
    absl::MutexLock lock(&mutex_);
    sent_.emplace_back(std::move(step), std::move(done));
  }

  // Steps wait until SetPaused(false).
  void SetPaused(bool is_paused) {
    absl::MutexLock lock(&mutex_);
    is_paused_ = is_paused;
  }

  // No step runs any more: those that wait and those to come fail.
  void LoseGroup(absl::Status reason) {
    absl::MutexLock lock(&mutex_);
    lost_ = std::move(reason);
    is_paused_ = false;
  }

 private:
  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stops_ || (!is_paused_ && !sent_.empty());
  }

  void Run() {
    while (true) {
      std::vector<std::pair<Step, Done>> batch;
      absl::Status lost;
      {
        absl::MutexLock lock(&mutex_);
        mutex_.Await(absl::Condition(this, &ThreadedDispatcher::HasWork));
        if (sent_.empty()) return;
        batch = std::exchange(sent_, {});
        lost = lost_;
      }
      EXPECT_LE(batch.size(), static_cast<size_t>(kMaxStepsInFlight));
      std::vector<absl::StatusOr<StepResult>> outcomes;
      for (const auto& [step, done] : batch) {
        if (!lost.ok()) {
          outcomes.push_back(lost);
          continue;
        }
        outcomes.push_back(workers_.Execute(step));
        EXPECT_TRUE(outcomes.back().ok()) << outcomes.back().status();
      }
      for (size_t i = batch.size(); i-- > 0;) {
        batch[i].second(std::move(outcomes[i]));
      }
    }
  }

  absl::Mutex mutex_;
  std::vector<std::pair<Step, Done>> sent_ ABSL_GUARDED_BY(mutex_);
  bool is_paused_ ABSL_GUARDED_BY(mutex_) = false;
  bool stops_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status lost_ ABSL_GUARDED_BY(mutex_);        // OK until it is
  ModelWorkers workers_{kTinyKv, CapacityOf(1024)};  // the thread's
  std::thread thread_;  // last: it runs from its construction on
};

TEST(EngineTest, ManyClientsHearTheirOwnAnswers) {
  ThreadedDispatcher dispatcher;
  const std::unique_ptr<Engine> engine =
      Engine::Create(Options(), dispatcher, Clock::Monotonic());
  std::vector<std::thread> clients;
  for (int client = 0; client < 4; ++client) {
    clients.emplace_back([&, client] {
      for (int i = 0; i < 40; ++i) {
        EngineRequest request = Generate(1 + (client * 40 + i) % 60, 1 + i % 9);
        request.sampling.seed = client;
        const std::vector<int32_t> expected = ExpectedAnswerOf(request).tokens;
        auto sink = std::make_shared<RecordingSink>();
        const auto id = engine->Submit(std::move(request), sink);
        ASSERT_TRUE(id.ok()) << id.status();
        if (i % 5 == 4) engine->Cancel(*id);
        sink->finished.WaitForNotification();
        if (sink->end.ok()) {
          EXPECT_EQ(sink->tokens, expected);
        } else {
          EXPECT_EQ(sink->end.code(), absl::StatusCode::kCancelled);
          EXPECT_EQ(i % 5, 4);
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
  const EngineStats stats = engine->stats();
  EXPECT_EQ(stats.running, 0);
  EXPECT_EQ(stats.waiting, 0);
  EXPECT_GT(stats.steps_total, 0u);
}

TEST(EngineTest, DestructorCancelsWhatRuns) {
  ThreadedDispatcher dispatcher;
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  {
    const std::unique_ptr<Engine> engine =
        Engine::Create(Options(), dispatcher, Clock::Monotonic());
    for (int i = 0; i < 20; ++i) {
      sinks.push_back(std::make_shared<RecordingSink>());
      ASSERT_TRUE(engine->Submit(Generate(50, 400), sinks.back()).ok());
    }
  }
  for (const auto& sink : sinks) {
    EXPECT_EQ(sink->num_finished, 1);
    EXPECT_EQ(sink->end.code(), absl::StatusCode::kCancelled);
  }
}

// Steps in flight do not answer, yet the deadline is kept.
TEST(EngineTest, DeadlineEndsARequestThatNoStepReaches) {
  ThreadedDispatcher dispatcher;
  dispatcher.SetPaused(true);
  const std::unique_ptr<Engine> engine =
      Engine::Create(Options(), dispatcher, Clock::Monotonic());
  EngineRequest request = Generate(3, 9);
  request.deadline = Clock::Monotonic().Now() + absl::Milliseconds(20);
  const auto sink = std::make_shared<RecordingSink>();
  ASSERT_TRUE(engine->Submit(std::move(request), sink).ok());
  sink->finished.WaitForNotification();
  EXPECT_EQ(sink->end.code(), absl::StatusCode::kDeadlineExceeded);
  dispatcher.SetPaused(false);
}

TEST(EngineTest, WhatWaitsForAGroupIsServedByTheNext) {
  ThreadedDispatcher dispatcher;
  dispatcher.SetPaused(true);
  const std::unique_ptr<Engine> engine =
      Engine::Create(Options(), dispatcher, Clock::Monotonic());
  engine->Suspend(absl::UnavailableError("gone"), GroupEnd::kLost);
  const auto sink = std::make_shared<RecordingSink>();
  ASSERT_TRUE(engine->Submit(Generate(3, 9), sink).ok());
  engine->Resume(CapacityOf(1024));
  dispatcher.SetPaused(false);
  sink->finished.WaitForNotification();
  EXPECT_EQ(sink->end, absl::OkStatus());
  EXPECT_EQ(sink->tokens, ExpectedAnswerOf(Generate(3, 9)).tokens);
}

// Its clock alone wakes the thread. A step may have gone out before the end:
// the group that is gone answers none.
TEST(EngineTest, WhatWaitsForAGroupInVainEnds) {
  ThreadedDispatcher dispatcher;
  dispatcher.SetPaused(true);
  EngineOptions options = Options();
  options.rebuild_wait = absl::Milliseconds(20);
  const std::unique_ptr<Engine> engine =
      Engine::Create(options, dispatcher, Clock::Monotonic());
  const auto sink = std::make_shared<RecordingSink>();
  ASSERT_TRUE(engine->Submit(Generate(3, 400), sink).ok());
  engine->Suspend(absl::UnavailableError("gone"), GroupEnd::kLost);
  sink->finished.WaitForNotification();
  EXPECT_EQ(sink->end, absl::UnavailableError("gone"));
  dispatcher.LoseGroup(absl::UnavailableError("gone"));
}

}  // namespace
}  // namespace headwise
