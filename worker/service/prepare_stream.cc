#include "worker/service/prepare_stream.h"

#include <utility>

#include "absl/time/clock.h"
#include "base/clock.h"
#include "worker/step_wire/message_checksum.h"
#include "worker/step_wire/prepare_wire.h"
#include "worker/step_wire/rpc_limits.h"

namespace headwise {

PrepareStream::PrepareStream(WorkerNode& node,
                             const worker::v1::PrepareRequest& request,
                             const PrepareTimes& times)
    : times_(times), heard_at_(Clock::Monotonic().Now()) {
  absl::StatusOr<WorkerConfig> config = ParsePrepare(request);
  const absl::Status is_whole = CheckChecksum(request);
  if (config.ok() && !is_whole.ok()) config = is_whole;
  if (!config.ok()) {
    Finish(StatusToWire(config.status()));
    return;
  }
  {
    absl::MutexLock lock(&mutex_);
    SetAlarmLocked();
  }
  const absl::Status started = node.Prepare(
      *std::move(config), [this](double value) { return OnProgress(value); },
      [this](absl::StatusOr<PreparedShard> prepared) {
        OnPrepared(std::move(prepared));
      });
  if (!started.ok()) OnPrepared(started);
}

void PrepareStream::OnWriteDone(bool ok) {
  Next next;
  {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    broken_ = broken_ || !ok;
    next = DecideLocked();
  }
  if (next.any()) Do(next);
}

void PrepareStream::OnCancel() {
  absl::MutexLock lock(&mutex_);
  broken_ = true;  // the node hears of it with its next progress
}

void PrepareStream::OnDone() { delete this; }

bool PrepareStream::OnProgress(double value) {
  Next next;
  {
    absl::MutexLock lock(&mutex_);
    if (broken_) return false;
    heard_at_ = Clock::Monotonic().Now();
    // Finer steps than one in a hundred tell nobody anything.
    if (value < progress_ + 0.01) return true;
    progress_ = value;
    has_news_ = true;
    next = DecideLocked();
  }
  if (next.any()) Do(next);
  return true;
}

void PrepareStream::OnPrepared(absl::StatusOr<PreparedShard> prepared) {
  Next next;
  {
    absl::MutexLock lock(&mutex_);
    answered_ = true;
    status_ = prepared.status();
    has_news_ = prepared.ok();
    if (prepared.ok()) prepared_ = *std::move(prepared);
    if (alarm_ != nullptr) alarm_->Cancel();
    next = DecideLocked();
  }
  if (next.any()) Do(next);
}

void PrepareStream::OnAlarm() {
  Next next;
  {
    absl::MutexLock lock(&mutex_);
    alarm_.reset();
    if (!answered_) {
      has_news_ =
          has_news_ || Clock::Monotonic().Now() - heard_at_ <= times_.max_stall;
      SetAlarmLocked();
    }
    next = DecideLocked();
  }
  if (next.any()) Do(next);
}

// The callback comes from a thread of gRPC, never from within Set or Cancel.
void PrepareStream::SetAlarmLocked() {
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(absl::ToChronoTime(absl::Now() + times_.keep_alive),
              [this](bool) { OnAlarm(); });
}

PrepareStream::Next PrepareStream::DecideLocked() {
  Next next;
  if (writing_ || finished_) return next;
  if (has_news_ && !broken_) {
    response_.Clear();
    response_.set_progress(progress_);
    WriteChecksum(&response_);
    if (answered_) WritePrepared(prepared_, &response_);
    has_news_ = false;
    writing_ = next.write = true;
  } else if (answered_ && alarm_ == nullptr) {
    finished_ = next.finish = true;
    next.status = status_;
  }
  return next;
}

void PrepareStream::Do(const Next& next) {
  if (next.write) StartWrite(&response_);
  if (next.finish) Finish(StatusToWire(next.status));
}

}  // namespace headwise
