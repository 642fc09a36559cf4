// The gRPC edge of a worker: worker.v1.Worker over a WorkerNode.

#ifndef HEADWISE_WORKER_SERVICE_WORKER_SERVICE_H_
#define HEADWISE_WORKER_SERVICE_WORKER_SERVICE_H_

#include <functional>

#include "grpcpp/support/server_callback.h"
#include "headwise/worker/v1/worker.grpc.pb.h"
#include "worker/service/prepare_stream.h"
#include "worker/service/worker_node.h"

namespace headwise {

// Callbacks run on gRPC threads and never block; work happens on the node's
// engine thread.
class WorkerService final : public worker::v1::Worker::CallbackService {
 public:
  // `info` is asked anew for each GetInfo (the port is known only once the
  // server listens). `node` must outlive the service, and the server that the
  // service belongs to must be shut down before the node ends.
  WorkerService(WorkerNode& node, std::function<worker::v1::WorkerInfo()> info,
                const PrepareTimes& times = {});

  // Unavailable while the engine thread is late (base/pulse.h): who asks
  // whether the worker lives must not count on it.
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
  const PrepareTimes times_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_WORKER_SERVICE_H_
