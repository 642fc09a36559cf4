// The server's end of a calibration's stream, for a writer that may wait.

#ifndef HEADWISE_SERVER_FRONTENDS_CALIBRATION_STREAM_H_
#define HEADWISE_SERVER_FRONTENDS_CALIBRATION_STREAM_H_

#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/support/server_callback.h"
#include "headwise/v1/calibration.pb.h"
#include "server/frontends/cancel_hook.h"

namespace headwise {

// gRPC owns one reference until OnDone, so the writer may outlive the call.
class CalibrationStream final
    : public grpc::ServerWriteReactor<v1::CalibrateResponse> {
 public:
  static std::shared_ptr<CalibrationStream> Create();

  // Calls `cancel` once when the client goes away; at once if it has already.
  void SetCancel(std::function<void()> cancel);

  // For one thread: waits until the message before it is on its way. False if
  // the client is gone.
  bool Write(v1::CalibrateResponse message);
  // Waits until what was written is on its way. False if the client is gone.
  bool Flush();
  // Sends `status` after what was written. To be called once, by the thread
  // that writes, or instead of it.
  void Close(const absl::Status& status);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  CalibrationStream() = default;
  CancelHook cancel_;
  std::shared_ptr<CalibrationStream> self_;  // until OnDone
  v1::CalibrateResponse in_flight_;  // gRPC's between StartWrite, OnWriteDone

  absl::Mutex mutex_;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_CALIBRATION_STREAM_H_
