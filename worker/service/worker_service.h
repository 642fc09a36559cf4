// The gRPC edge of a worker: worker.v1.Worker over a WorkerNode.

#ifndef HEADWISE_WORKER_SERVICE_WORKER_SERVICE_H_
#define HEADWISE_WORKER_SERVICE_WORKER_SERVICE_H_

#include <functional>

#include "absl/time/time.h"
#include "grpcpp/support/server_callback.h"
#include "headwise/worker/v1/worker.grpc.pb.h"
#include "worker/service/worker_node.h"

namespace headwise {

// Callbacks run on gRPC threads and never block; work happens on the node's
// engine thread.
class WorkerService final : public worker::v1::Worker::CallbackService {
 public:
  // Below what a coordinator takes for silence, 20 s.
  static constexpr absl::Duration kKeepAlive = absl::Seconds(5);

  // `info` is asked anew for each GetInfo (the port is known only once the
  // server listens). `node` must outlive the service, and the server that the
  // service belongs to must be shut down before the node ends. A Prepare that
  // waits or loads says so every `keep_alive`.
  WorkerService(WorkerNode& node, std::function<worker::v1::WorkerInfo()> info,
                absl::Duration keep_alive = kKeepAlive);

  grpc::ServerUnaryReactor* GetInfo(grpc::CallbackServerContext* context,
                                    const worker::v1::GetInfoRequest* request,
                                    worker::v1::WorkerInfo* response) override;
  grpc::ServerWriteReactor<worker::v1::PrepareResponse>* Prepare(
      grpc::CallbackServerContext* context,
      const worker::v1::PrepareRequest* request) override;
  grpc::ServerUnaryReactor* Join(grpc::CallbackServerContext* context,
                                 const worker::v1::JoinRequest* request,
                                 worker::v1::JoinResponse* response) override;
  grpc::ServerBidiReactor<worker::v1::StepRequest, worker::v1::StepResponse>*
  Run(grpc::CallbackServerContext* context) override;

 private:
  WorkerNode& node_;
  const std::function<worker::v1::WorkerInfo()> info_;
  const absl::Duration keep_alive_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_WORKER_SERVICE_H_
