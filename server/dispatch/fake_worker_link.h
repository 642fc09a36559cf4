// A worker for tests: answers as it is told, on threads of its own.

#ifndef HEADWISE_SERVER_DISPATCH_FAKE_WORKER_LINK_H_
#define HEADWISE_SERVER_DISPATCH_FAKE_WORKER_LINK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/dispatch/worker_link.h"

namespace headwise {

// Thread-safe. Prepare, Join and Probe are answered at once with the statuses
// below; steps wait until the test answers or breaks them.
class FakeWorkerLink final : public WorkerLink {
 public:
  absl::Status probe_status;
  absl::Status prepare_status;
  absl::Status join_status;
  int64_t kv_capacity_blocks = 100;
  bool answers_prepare = true;       // false: silence
  std::function<void()> on_prepare;  // empty: nothing happens meanwhile
  uint64_t newest_epoch = 0;         // what is below is Aborted

  void Probe(absl::Duration timeout,
             std::function<void(absl::Status)> done) override {
    done(probe_status);
  }

  void Prepare(
      WorkerConfig config, absl::Duration timeout,
      std::function<void(double)> progress,
      std::function<void(absl::StatusOr<PreparedShard>)> done) override {
    const int rank = config.rank;
    const uint64_t epoch = config.membership_epoch;
    {
      absl::MutexLock lock(&mutex_);
      configs_.push_back(std::move(config));
    }
    if (on_prepare) on_prepare();
    if (!answers_prepare) return;
    progress(0.5);
    if (epoch < newest_epoch) {
      done(absl::AbortedError("the configuration is of an older epoch"));
      return;
    }
    if (!prepare_status.ok()) {
      done(prepare_status);
      return;
    }
    done(PreparedShard{"endpoint " + std::to_string(rank), 1000,
                       kv_capacity_blocks});
  }

  void Join(uint64_t membership_epoch, std::vector<std::string> endpoints,
            absl::Duration timeout,
            std::function<void(absl::Status)> done) override {
    {
      absl::MutexLock lock(&mutex_);
      endpoints_ = std::move(endpoints);
    }
    done(join_status);
  }

  void OpenSteps(uint64_t membership_epoch, StepListener listener) override {
    absl::MutexLock lock(&mutex_);
    epoch_ = membership_epoch;
    listener_ = std::move(listener);
    open_ = true;
  }

  void SendStep(uint64_t membership_epoch,
                std::shared_ptr<const Step> step) override {
    absl::MutexLock lock(&mutex_);
    if (open_ && membership_epoch == epoch_) steps_.push_back(std::move(step));
  }

  void CloseSteps() override {
    absl::MutexLock lock(&mutex_);
    open_ = false;
    listener_ = {};
    steps_.clear();
  }

  // Answers the oldest step with `status`, with empty results of its slices if
  // `with_slices`. Returns false if there is none.
  bool Answer(absl::Status status, bool with_slices) {
    StepAnswer answer;
    std::function<void(StepAnswer)> on_answer;
    {
      absl::MutexLock lock(&mutex_);
      if (steps_.empty()) return false;
      answer.membership_epoch = epoch_;
      answer.step_id = steps_.front()->step_id;
      if (status.ok()) {
        answer.result = ResultOf(*steps_.front(), with_slices);
      } else {
        answer.result = std::move(status);
      }
      steps_.erase(steps_.begin());
      on_answer = listener_.on_answer;
    }
    on_answer(std::move(answer));
    return true;
  }

  void Break(const absl::Status& status) {
    std::function<void(absl::Status)> on_broken;
    {
      absl::MutexLock lock(&mutex_);
      on_broken = listener_.on_broken;
    }
    if (on_broken) on_broken(status);
  }

  // The listener as it is, to call it when the stream has been closed since.
  StepListener listener() const {
    absl::MutexLock lock(&mutex_);
    return listener_;
  }
  bool open() const {
    absl::MutexLock lock(&mutex_);
    return open_;
  }
  size_t num_steps() const {
    absl::MutexLock lock(&mutex_);
    return steps_.size();
  }
  std::vector<WorkerConfig> configs() const {
    absl::MutexLock lock(&mutex_);
    return configs_;
  }
  std::vector<std::string> endpoints() const {
    absl::MutexLock lock(&mutex_);
    return endpoints_;
  }

 private:
  static StepResult ResultOf(const Step& step, bool with_slices) {
    StepResult result = {.compute_seconds = 0.25, .collective_bytes = 10};
    if (!with_slices) return result;
    for (const Slice& slice : step.slices) {
      result.results.push_back(
          {.sequence_id = slice.sequence_id, .has_token = slice.sample});
    }
    return result;
  }

  mutable absl::Mutex mutex_;
  bool open_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t epoch_ ABSL_GUARDED_BY(mutex_) = 0;
  StepListener listener_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<const Step>> steps_ ABSL_GUARDED_BY(mutex_);
  std::vector<WorkerConfig> configs_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> endpoints_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_FAKE_WORKER_LINK_H_
