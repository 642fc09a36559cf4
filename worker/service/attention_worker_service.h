// The gRPC edge of a worker's sessions: worker.v1.AttentionWorker over a
// SessionNode.

#ifndef HEADWISE_WORKER_SERVICE_ATTENTION_WORKER_SERVICE_H_
#define HEADWISE_WORKER_SERVICE_ATTENTION_WORKER_SERVICE_H_

#include "grpcpp/support/server_callback.h"
#include "headwise/worker/v1/attention_worker.grpc.pb.h"
#include "worker/sessions/session_node.h"

namespace headwise {

// Callbacks run on gRPC threads and never block; work happens on the node's
// thread.
class AttentionWorkerService final
    : public worker::v1::AttentionWorker::CallbackService {
 public:
  // `node` must outlive the service; the server that the service belongs to
  // must be shut down before the node ends.
  explicit AttentionWorkerService(SessionNode& node) : node_(node) {}

  grpc::ServerUnaryReactor* OpenPart(grpc::CallbackServerContext* context,
                                     const worker::v1::OpenPartRequest* request,
                                     worker::v1::PartBytes* response) override;
  grpc::ServerUnaryReactor* Stage(grpc::CallbackServerContext* context,
                                  const worker::v1::StageRequest* request,
                                  worker::v1::StageResponse* response) override;
  grpc::ServerUnaryReactor* AttendPart(
      grpc::CallbackServerContext* context,
      const worker::v1::AttendPartRequest* request,
      worker::v1::AttendPartResponse* response) override;
  grpc::ServerUnaryReactor* ProbePart(
      grpc::CallbackServerContext* context,
      const worker::v1::ProbePartRequest* request,
      worker::v1::ProbePartResponse* response) override;
  grpc::ServerUnaryReactor* ForkPart(grpc::CallbackServerContext* context,
                                     const worker::v1::ForkPartRequest* request,
                                     worker::v1::PartBytes* response) override;
  grpc::ServerUnaryReactor* ExportBlocks(
      grpc::CallbackServerContext* context,
      const worker::v1::ExportBlocksRequest* request,
      worker::v1::ExportBlocksResponse* response) override;
  grpc::ServerUnaryReactor* ImportBlocks(
      grpc::CallbackServerContext* context,
      const worker::v1::ImportBlocksRequest* request,
      worker::v1::ImportBlocksResponse* response) override;
  grpc::ServerUnaryReactor* DeletePart(
      grpc::CallbackServerContext* context,
      const worker::v1::DeletePartRequest* request,
      worker::v1::DeletePartResponse* response) override;
  grpc::ServerUnaryReactor* Renew(grpc::CallbackServerContext* context,
                                  const worker::v1::RenewRequest* request,
                                  worker::v1::RenewResponse* response) override;

 private:
  SessionNode& node_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_ATTENTION_WORKER_SERVICE_H_
