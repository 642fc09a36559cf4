#include "server/frontends/job_stream.h"

#include <utility>

#include "server/frontends/rich_status.h"
#include "server/frontends/selection_writer.h"

namespace headwise {
namespace {

absl::Status LeftError() { return absl::CancelledError("the client has left"); }

}  // namespace

std::shared_ptr<JobStream> JobStream::Create(OnEnd on_end) {
  std::shared_ptr<JobStream> stream(new JobStream(std::move(on_end)));
  stream->self_ = stream;
  return stream;
}

void JobStream::Offer(const JobStatus& status) {
  {
    absl::MutexLock lock(&mutex_);
    if (end_.has_value()) return;
    WriteJob(status, &pending_.emplace());
    if (IsFinal(status.state)) end_ = absl::OkStatus();
  }
  Pump();
}

void JobStream::Hold(std::unique_ptr<JobWatch> watch) {
  absl::MutexLock lock(&mutex_);
  if (!end_.has_value()) watch_ = std::move(watch);
}

void JobStream::End(absl::Status status) {
  // Its end waits for Offer, which takes the mutex.
  std::unique_ptr<JobWatch> watch;
  {
    absl::MutexLock lock(&mutex_);
    if (end_.has_value()) return;
    end_ = std::move(status);
    watch = std::move(watch_);
    pending_.reset();
  }
  Pump();
}

void JobStream::Pump() {
  std::optional<absl::Status> end;
  {
    absl::MutexLock lock(&mutex_);
    if (writing_ || finished_) return;
    if (pending_.has_value()) {
      in_flight_ = *std::exchange(pending_, std::nullopt);
      writing_ = true;
    } else if (end_.has_value()) {
      end = end_;
      finished_ = true;
    } else {
      return;
    }
  }
  if (!end.has_value()) {
    StartWrite(&in_flight_);
    return;
  }
  on_end_(this, *end);
  Finish(ToGrpcStatus(*end));
}

void JobStream::OnWriteDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) {
      pending_.reset();
      if (!end_.has_value()) end_ = LeftError();
    }
  }
  Pump();
}

void JobStream::OnCancel() { End(LeftError()); }

void JobStream::OnDone() {
  const std::shared_ptr<JobStream> last = std::move(self_);
  std::unique_ptr<JobWatch> watch;
  absl::MutexLock lock(&mutex_);
  watch = std::move(watch_);
}

}  // namespace headwise
