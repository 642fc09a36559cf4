// The gRPC server of a worker: port, limits, health.

#ifndef HEADWISE_WORKER_SERVICE_WORKER_SERVER_H_
#define HEADWISE_WORKER_SERVICE_WORKER_SERVER_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/impl/codegen/service_type.h"
#include "grpcpp/server.h"
#include "headwise/worker/v1/worker.pb.h"
#include "proto/health_service.h"
#include "proto/timer_pulse.h"
#include "proto/transport_security.h"
#include "worker/service/worker_node.h"
#include "worker/service/worker_service.h"

namespace headwise {

struct WorkerServerOptions {
  std::string listen = "127.0.0.1:0";  // port 0: any free one
  TransportSecurity security;          // of that port
  // Host under which others reach us; empty: that of `listen`.
  std::string advertise_host;
  // What GetInfo and Register say. The address is filled in from the bound
  // port, an empty name too, and what the build says.
  worker::v1::WorkerInfo info;
  // Served on the same port as well; must outlive the server.
  std::vector<grpc::Service*> services;
  // Of grpc.health.v1, by name of service; "" and that of worker.v1.Worker are
  // expected.
  std::map<std::string, HealthService::Probe> probes;
};

// What this build says of itself, in the words of worker.v1.
void WriteOwnBuild(worker::v1::WorkerInfo* info);

// Serves worker.v1.Worker and grpc.health.v1 until it is destroyed.
class WorkerServer {
 public:
  // `node` must outlive the server. Unavailable if the address can't be bound.
  static absl::StatusOr<std::unique_ptr<WorkerServer>> Start(
      WorkerServerOptions options, WorkerNode& node);
  // Cancels the calls in progress, which aborts the group, and waits for them.
  ~WorkerServer();

  int port() const { return port_; }
  worker::v1::WorkerInfo info() const;

 private:
  WorkerServer(WorkerNode& node,
               std::map<std::string, HealthService::Probe> probes);

  mutable absl::Mutex mutex_;  // a call may come before the port is known
  worker::v1::WorkerInfo info_ ABSL_GUARDED_BY(mutex_);
  WorkerService service_;
  TimerPulse timer_pulse_;
  HealthService health_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_WORKER_SERVER_H_
