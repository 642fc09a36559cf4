// What /healthz and grpc.health.v1 say of a worker.

#ifndef HEADWISE_WORKER_SERVICE_WORKER_HEALTH_H_
#define HEADWISE_WORKER_SERVICE_WORKER_HEALTH_H_

#include <atomic>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "base/operator_server.h"
#include "proto/health_service.h"

namespace headwise {

// Thread-safe; returns at once. A status that is not OK is Unavailable and says
// why.
class WorkerHealth {
 public:
  // `must_register`: a coordinator was named; else one dials the worker.
  explicit WorkerHealth(bool must_register) : must_register_(must_register) {}

  void SetRegistered(bool registered);
  void SetLeaving() { leaving_ = true; }

  // It was registered once, if it must be. Never takes it back.
  absl::Status Startup() const;
  // No thread is late (base/pulse.h). If one is, only a restart helps.
  absl::Status Live() const;
  // It is live, registered if it must be, and does not leave: a group can count
  // on it. Whether one does, its coordinator knows.
  absl::Status Ready() const;

  // "" and worker.v1.Worker.
  std::map<std::string, HealthService::Probe> GrpcProbes() const;
  void SetHttpProbes(OperatorServerOptions* options) const;

 private:
  const bool must_register_;
  std::atomic<bool> was_registered_ = false;
  std::atomic<bool> is_registered_ = false;
  std::atomic<bool> leaving_ = false;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_WORKER_HEALTH_H_
