#include "server/calibration/engine_model_runner.h"

#include <atomic>
#include <functional>
#include <set>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/scheduler/engine_stub.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Answers each request on a thread of its own, as the test says.
class ScriptedEngine final : public EngineStub {
 public:
  using Script =
      std::function<void(uint64_t id, const EngineRequest&, RequestSink&)>;

  ~ScriptedEngine() override {
    for (std::thread& thread : threads_) thread.join();
  }

  absl::StatusOr<uint64_t> Submit(EngineRequest request,
                                  std::shared_ptr<RequestSink> sink) override {
    absl::MutexLock lock(&mutex_);
    if (!refusal.ok()) return refusal;
    const uint64_t id = ++last_id_;
    most_open_ = std::max(most_open_, ++open_);
    threads_.emplace_back(
        [this, id, request = std::move(request),
         sink = std::move(sink)]() mutable { script(id, request, *sink); });
    return id;
  }
  void Cancel(uint64_t id) override {
    absl::MutexLock lock(&mutex_);
    cancelled_.insert(id);
  }
  void Release(uint64_t id) override {
    absl::MutexLock lock(&mutex_);
    released_.push_back(id);
  }

  // Before a sink hears of its end, where a test counts open requests.
  void CountEnd() {
    absl::MutexLock lock(&mutex_);
    --open_;
  }
  void AwaitCancel(uint64_t id) {
    absl::MutexLock lock(&mutex_);
    const auto cancelled = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return cancelled_.count(id) > 0;
    };
    mutex_.Await(absl::Condition(&cancelled));
  }
  std::vector<uint64_t> released() {
    absl::MutexLock lock(&mutex_);
    return released_;
  }
  int64_t most_open() {
    absl::MutexLock lock(&mutex_);
    return most_open_;
  }

  Script script;
  absl::Status refusal;

 private:
  absl::Mutex mutex_;
  uint64_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t open_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t most_open_ ABSL_GUARDED_BY(mutex_) = 0;
  std::set<uint64_t> cancelled_ ABSL_GUARDED_BY(mutex_);
  std::vector<uint64_t> released_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
};

// Two heads.
EngineRunnerOptions Options() {
  EngineRunnerOptions options;
  options.facts.num_layers = 1;
  options.facts.num_heads = 2;
  options.facts.num_kv_heads = 1;
  options.request_id = "r";
  return options;
}

Continuation Tokens(std::vector<int32_t> tokens) {
  Continuation one;
  one.tokens = std::move(tokens);
  return one;
}

void Finish(RequestSink& sink, const absl::Status& status = absl::OkStatus()) {
  sink.OnFinished(status, RequestUsage());
}

TEST(EngineModelRunnerTest, AsksTheEngineForWhatAContinuationWants) {
  ScriptedEngine engine;
  std::vector<EngineRequest> seen;
  engine.script = [&](uint64_t, const EngineRequest& request,
                      RequestSink& sink) {
    seen.push_back(request);
    SliceResult rows;
    if (request.kind == WorkKind::kScore) rows.score_logprobs = {-1, -2, 0};
    if (request.kind == WorkKind::kEmbed) rows.hidden = {1, 2, 3, 4, 5, 6};
    if (request.kind == WorkKind::kGenerate) {
      rows.token = 9;
      sink.OnToken(rows);
    } else if (request.kind != WorkKind::kPrefix) {
      sink.OnRows(0, rows);
    }
    Finish(sink);
  };
  EngineModelRunner runner(engine, Options());
  const uint64_t prefix = *runner.Hold({1, 2});
  const auto plan = std::make_shared<const HeadPlan>();
  Continuation one = Tokens({3, 4, 5});
  one.prefix = prefix;
  one.plan = plan;
  auto results = runner.Run({one});
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_THAT((*results)[0].logprobs, ElementsAre(-1, -2));
  one.want = Continuation::Want::kHidden;
  EXPECT_EQ((*runner.Run({one}))[0].hidden.size(), 6u);
  one.want = Continuation::Want::kTokens;
  one.num_tokens = 1;
  EXPECT_THAT((*runner.Run({one}))[0].generated, ElementsAre(9));
  runner.Release(prefix);

  ASSERT_EQ(seen.size(), 4u);
  EXPECT_EQ(seen[0].kind, WorkKind::kPrefix);
  EXPECT_THAT(seen[0].prompt, ElementsAre(1, 2));
  EXPECT_EQ(seen[0].plan, nullptr);
  EXPECT_EQ(seen[1].fork_from, prefix);
  EXPECT_EQ(seen[1].plan, plan);
  EXPECT_EQ(seen[1].request_id, "r");
  EXPECT_EQ(seen[3].max_new_tokens, 1);
  EXPECT_THAT(engine.released(), ElementsAre(prefix));
}

// Rows of a set lie together in a slice and in the whole.
TEST(EngineModelRunnerTest, JoinsTheProbesOfSlices) {
  ScriptedEngine engine;
  engine.script = [](uint64_t, const EngineRequest&, RequestSink& sink) {
    SliceResult first;
    first.score_logprobs = {-1, -1};
    first.probes = {
        {.head = 0, .argmax = {5, 6}, .distance_probs = {1, 2, 3, 4}},
        {.head = 1, .argmax = {0, 0}, .distance_probs = {0, 0, 0, 0}}};
    sink.OnRows(0, first);
    SliceResult second;
    second.score_logprobs = {0};
    second.probes = {{.head = 0, .argmax = {7}, .distance_probs = {8, 9}},
                     {.head = 1, .argmax = {1}, .distance_probs = {0, 1}}};
    sink.OnRows(2, second);
    Finish(sink);
  };
  EngineModelRunner runner(engine, Options());
  Continuation one = Tokens({3, 4, 5});
  one.probe.argmax = true;
  one.probe.distance_sets = {{1}, {2}};
  const auto results = runner.Run({one});
  ASSERT_TRUE(results.ok()) << results.status();
  ASSERT_EQ((*results)[0].probes.size(), 2u);
  EXPECT_THAT((*results)[0].probes[0].argmax, ElementsAre(5, 6, 7));
  EXPECT_THAT((*results)[0].probes[0].distance_probs,
              ElementsAre(1, 2, 8, 3, 4, 9));
  EXPECT_THAT((*results)[0].probes[1].distance_probs,
              ElementsAre(0, 0, 0, 0, 0, 1));
}

TEST(EngineModelRunnerTest, MissingRowsOrHeadsAreErrors) {
  ScriptedEngine engine;
  engine.script = [](uint64_t, const EngineRequest& request,
                     RequestSink& sink) {
    SliceResult rows;
    rows.score_logprobs.assign(request.probe.empty() ? 1 : 2, -1.0f);
    rows.probes.resize(1);
    sink.OnRows(0, rows);
    Finish(sink);
  };
  EngineModelRunner runner(engine, Options());
  Continuation one = Tokens({3, 4});
  EXPECT_THAT(std::string(runner.Run({one}).status().message()),
              HasSubstr("scored 1 of 2 rows"));
  one.probe.argmax = true;
  EXPECT_THAT(std::string(runner.Run({one}).status().message()),
              HasSubstr("probes of 1 heads, not of 2"));
}

TEST(EngineModelRunnerTest, HoldsFewRequestsAtOnceAndKeepsTheirOrder) {
  ScriptedEngine engine;
  engine.script = [&engine](uint64_t, const EngineRequest& request,
                            RequestSink& sink) {
    SliceResult rows;
    rows.score_logprobs = {static_cast<float>(request.prompt[0]), 0};
    sink.OnRows(0, rows);
    engine.CountEnd();
    Finish(sink);
  };
  EngineRunnerOptions options = Options();
  options.max_in_flight = 3;
  EngineModelRunner runner(engine, options);
  std::vector<Continuation> work;
  for (int32_t i = 0; i < 40; ++i) work.push_back(Tokens({i, 0}));
  const auto results = runner.Run(work);
  ASSERT_TRUE(results.ok()) << results.status();
  for (size_t i = 0; i < 40; ++i) {
    EXPECT_THAT((*results)[i].logprobs, ElementsAre(static_cast<float>(i)));
  }
  EXPECT_LE(engine.most_open(), 3);
}

TEST(EngineModelRunnerTest, AFailureIsReportedOnceAllHaveEnded) {
  ScriptedEngine engine;
  std::atomic<int> ended = 0;
  engine.script = [&](uint64_t id, const EngineRequest&, RequestSink& sink) {
    ++ended;
    Finish(sink, id == 2 ? absl::UnavailableError("the group is lost")
                         : absl::OkStatus());
  };
  EngineModelRunner runner(engine, Options());
  Continuation one = Tokens({1});
  one.want = Continuation::Want::kHidden;
  const auto results = runner.Run({one, one, one});
  EXPECT_EQ(results.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ended, 3);
  engine.refusal = absl::ResourceExhaustedError("the queue is full");
  EXPECT_EQ(runner.Run({one}).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(runner.Hold({1}).ok());
}

TEST(EngineModelRunnerTest, CancelEndsWhatRunsAndRefusesTheRest) {
  ScriptedEngine engine;
  absl::Notification running;
  engine.script = [&](uint64_t id, const EngineRequest&, RequestSink& sink) {
    if (!running.HasBeenNotified()) running.Notify();
    engine.AwaitCancel(id);
    Finish(sink, absl::CancelledError("cancelled"));
  };
  EngineModelRunner runner(engine, Options());
  std::thread canceller([&] {
    running.WaitForNotification();
    runner.Cancel();
  });
  EXPECT_EQ(runner.Run({Tokens({1, 2})}).status().code(),
            absl::StatusCode::kCancelled);
  canceller.join();
  EXPECT_TRUE(runner.cancelled());
  EXPECT_EQ(runner.Hold({1}).status().code(), absl::StatusCode::kCancelled);
}

TEST(EngineModelRunnerTest, WhatIsStillHeldIsReleasedAtTheEnd) {
  ScriptedEngine engine;
  engine.script = [](uint64_t, const EngineRequest&, RequestSink& sink) {
    Finish(sink);
  };
  uint64_t kept = 0;
  {
    EngineModelRunner runner(engine, Options());
    kept = *runner.Hold({1});
  }
  EXPECT_THAT(engine.released(), ElementsAre(kept));
}

TEST(EngineModelRunnerTest, ADrainingServerIsUnavailable) {
  ScriptedEngine engine;
  EngineRunnerOptions options = Options();
  options.count_call = [](std::shared_ptr<RequestSink>) {
    return std::shared_ptr<RequestSink>();
  };
  EngineModelRunner runner(engine, options);
  EXPECT_EQ(runner.Hold({1}).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace headwise
