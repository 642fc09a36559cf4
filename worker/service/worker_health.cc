#include "worker/service/worker_health.h"

#include "base/pulse.h"
#include "base/status_macros.h"
#include "headwise/worker/v1/worker.grpc.pb.h"

namespace headwise {

void WorkerHealth::SetRegistered(bool registered) {
  if (registered) was_registered_ = true;
  is_registered_ = registered;
}

absl::Status WorkerHealth::Startup() const {
  if (!must_register_ || was_registered_) return absl::OkStatus();
  return absl::UnavailableError("not registered with the coordinator yet");
}

absl::Status WorkerHealth::Live() const { return CheckPulses(); }

absl::Status WorkerHealth::Ready() const {
  if (leaving_) return absl::UnavailableError("leaving");
  HEADWISE_RETURN_IF_ERROR(Live());
  if (!must_register_ || is_registered_) return absl::OkStatus();
  return absl::UnavailableError("not registered with the coordinator");
}

std::map<std::string, HealthService::Probe> WorkerHealth::GrpcProbes() const {
  return {
      {"", [this] { return Live(); }},
      {worker::v1::Worker::service_full_name(), [this] { return Ready(); }}};
}

void WorkerHealth::SetHttpProbes(OperatorServerOptions* options) const {
  options->startup = [this] { return ProbeAnswer{Startup(), ""}; };
  options->live = [this] { return ProbeAnswer{Live(), ""}; };
  options->ready = [this] { return ProbeAnswer{Ready(), ""}; };
}

}  // namespace headwise
