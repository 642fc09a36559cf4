// The model behind the engine, as calibrations see it.

#ifndef HEADWISE_SERVER_CALIBRATION_ENGINE_MODEL_RUNNER_H_
#define HEADWISE_SERVER_CALIBRATION_ENGINE_MODEL_RUNNER_H_

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/calibration/model_runner.h"
#include "server/scheduler/engine.h"

namespace headwise {

struct EngineRunnerOptions {
  ModelFacts facts;
  std::string request_id;  // for logs
  absl::Time deadline = absl::InfiniteFuture();
  // Requests that the engine holds at once; the rest of a Run waits here, so
  // that others' requests find their places in the queue.
  int64_t max_in_flight = 32;
  // Wraps each sink; null from it means that the server drains. Null: none.
  std::function<std::shared_ptr<RequestSink>(std::shared_ptr<RequestSink>)>
      count_call;
};

// As ModelRunner says; Cancel alone may come from any thread.
class EngineModelRunner final : public ModelRunner {
 public:
  // `engine` must outlive the runner.
  EngineModelRunner(Engine& engine, EngineRunnerOptions options)
      : engine_(engine), options_(std::move(options)) {}
  // Releases what is still held.
  ~EngineModelRunner() override;

  // The digest takes long to compute, so it comes later.
  void set_sha256(std::string sha256) {
    options_.facts.sha256 = std::move(sha256);
  }

  // What runs ends within a step, and whatever is asked for afterwards is
  // Cancelled. Thread-safe.
  void Cancel();
  bool cancelled() const;

  const ModelFacts& facts() const override { return options_.facts; }
  absl::StatusOr<uint64_t> Hold(absl::Span<const int32_t> tokens) override;
  void Release(uint64_t prefix) override;
  absl::StatusOr<std::vector<ContinuationResult>> Run(
      std::vector<Continuation> work) override;

 private:
  class Sink;

  static EngineRequest RequestFor(const Continuation& one);
  absl::StatusOr<uint64_t> Submit(EngineRequest request,
                                  std::shared_ptr<Sink> sink);
  void Forget(uint64_t request);  // it has ended

  Engine& engine_;
  EngineRunnerOptions options_;
  std::set<uint64_t> held_;

  mutable absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<uint64_t> in_flight_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_CALIBRATION_ENGINE_MODEL_RUNNER_H_
