#include "server/frontends/calibration_stream.h"

#include <utility>

#include "server/frontends/rich_status.h"

namespace headwise {

std::shared_ptr<CalibrationStream> CalibrationStream::Create() {
  std::shared_ptr<CalibrationStream> stream(new CalibrationStream());
  stream->self_ = stream;
  return stream;
}

void CalibrationStream::SetCancel(std::function<void()> cancel) {
  cancel_.Set(std::move(cancel));
}

bool CalibrationStream::Flush() {
  absl::MutexLock lock(&mutex_);
  const auto written = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return !writing_;
  };
  // gRPC ends the write of a client that has gone.
  mutex_.Await(absl::Condition(&written));
  return !broken_;
}

bool CalibrationStream::Write(v1::CalibrateResponse message) {
  if (!Flush()) return false;
  in_flight_ = std::move(message);
  {
    absl::MutexLock lock(&mutex_);
    writing_ = true;
  }
  StartWrite(&in_flight_);
  return true;
}

void CalibrationStream::Close(const absl::Status& status) {
  Flush();
  Finish(ToGrpcStatus(status));
}

void CalibrationStream::OnWriteDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    broken_ |= !ok;
  }
  if (!ok) cancel_.Fire();
}

void CalibrationStream::OnCancel() { cancel_.Fire(); }

void CalibrationStream::OnDone() {
  const std::shared_ptr<CalibrationStream> last = std::move(self_);
}

}  // namespace headwise
