#include "client/cli/local_worker_link.h"

#include <utility>

namespace headwise {

void LocalWorkerLink::Probe(absl::Duration timeout,
                            std::function<void(absl::Status)> done) {
  done(absl::OkStatus());
}

void LocalWorkerLink::Prepare(
    WorkerConfig config, absl::Duration timeout,
    std::function<void(double)> progress,
    std::function<void(absl::StatusOr<PreparedShard>)> done) {
  const absl::Status started = node_.Prepare(
      std::move(config),
      [progress = std::move(progress)](double value) {
        if (progress) progress(value);
        return true;
      },
      done);
  if (!started.ok()) done(started);
}

void LocalWorkerLink::Join(uint64_t membership_epoch,
                           std::vector<std::string> endpoints,
                           absl::Duration timeout,
                           std::function<void(absl::Status)> done) {
  const absl::Status started =
      node_.Join(membership_epoch, std::move(endpoints), done);
  if (!started.ok()) done(started);
}

void LocalWorkerLink::OpenSteps(uint64_t membership_epoch,
                                StepListener listener) {
  CloseSteps();
  const absl::Status claimed = node_.ClaimSteps(membership_epoch);
  if (!claimed.ok()) {
    listener.on_broken(claimed);
    return;
  }
  absl::MutexLock lock(&mutex_);
  stream_ = std::make_shared<Stream>(membership_epoch, std::move(listener));
}

void LocalWorkerLink::SendStep(uint64_t membership_epoch,
                               std::shared_ptr<const Step> step) {
  std::shared_ptr<Stream> stream;
  {
    absl::MutexLock lock(&mutex_);
    stream = stream_;
  }
  if (stream == nullptr || stream->membership_epoch != membership_epoch) {
    return;
  }
  const absl::Status started = node_.RunStep(
      membership_epoch, *step,
      [stream, step_id = step->step_id](absl::StatusOr<StepResult> result) {
        if (stream->closed) return;
        stream->listener.on_answer(
            {stream->membership_epoch, step_id, std::move(result)});
      });
  // Only a node that shuts down, or a queue far beyond kMaxStepsInFlight.
  if (!started.ok()) stream->listener.on_broken(started);
}

void LocalWorkerLink::CloseSteps() {
  std::shared_ptr<Stream> stream;
  {
    absl::MutexLock lock(&mutex_);
    stream.swap(stream_);
  }
  if (stream == nullptr) return;
  stream->closed = true;
  node_.AbortGroup(stream->membership_epoch,
                   absl::UnavailableError("the stream of steps ended"));
}

}  // namespace headwise
