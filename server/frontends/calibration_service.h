// headwise.v1.Calibration: one calibration at a time, on a thread of its own.

#ifndef HEADWISE_SERVER_FRONTENDS_CALIBRATION_SERVICE_H_
#define HEADWISE_SERVER_FRONTENDS_CALIBRATION_SERVICE_H_

#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "headwise/v1/calibration.grpc.pb.h"
#include "server/calibration/engine_model_runner.h"
#include "server/frontends/calibration_parser.h"
#include "server/frontends/frontend_context.h"
#include "server/frontends/waiting_stream.h"

namespace headwise {

// Thread-safe. Its requests to the engine are ordinary ones and share steps
// with everybody's.
class CalibrationService final : public v1::Calibration::CallbackService {
 public:
  explicit CalibrationService(const FrontendContext& frontend)
      : frontend_(frontend) {}
  // Waits for the calibration that runs; its call must have ended or been
  // cancelled.
  ~CalibrationService() override;

  grpc::ServerWriteReactor<v1::CalibrateResponse>* Calibrate(
      grpc::CallbackServerContext* context,
      const v1::CalibrateRequest* request) override;

 private:
  using CalibrationStream = WaitingStream<v1::CalibrateResponse>;

  struct Job {
    Arrival arrival;
    CalibrationCall call;
    std::shared_ptr<CalibrationStream> stream;
    std::shared_ptr<EngineModelRunner> runner;
    std::shared_ptr<void> open;  // of OpenCalls: until the thread is done
  };

  // False: another one runs.
  bool Start(Job job);
  void Run(const Job& job);
  absl::StatusOr<v1::CalibrateResponse> RunMethod(const Job& job);
  void Close(const Arrival& arrival, const absl::Status& status,
             CalibrationStream& stream);

  const FrontendContext frontend_;
  absl::Mutex mutex_;
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_CALIBRATION_SERVICE_H_
