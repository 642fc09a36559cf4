// The gRPC edge of a worker's neural memories: worker.v1.MemoryWorker over a
// MemoryNode.

#ifndef HEADWISE_WORKER_SERVICE_MEMORY_WORKER_SERVICE_H_
#define HEADWISE_WORKER_SERVICE_MEMORY_WORKER_SERVICE_H_

#include "grpcpp/support/server_callback.h"
#include "headwise/worker/v1/memory_worker.grpc.pb.h"
#include "worker/memory_parts/memory_node.h"

namespace headwise {

// Callbacks run on gRPC threads and never block; work happens on the node's
// thread.
class MemoryWorkerService final
    : public worker::v1::MemoryWorker::CallbackService {
 public:
  // `node` must outlive the service; the server that the service belongs to
  // must be shut down before the node ends.
  explicit MemoryWorkerService(MemoryNode& node) : node_(node) {}

  grpc::ServerUnaryReactor* Open(grpc::CallbackServerContext* context,
                                 const worker::v1::OpenMemoryRequest* request,
                                 worker::v1::MemoryBytes* response) override;
  grpc::ServerUnaryReactor* Import(
      grpc::CallbackServerContext* context,
      const worker::v1::ImportMemoryRequest* request,
      worker::v1::ImportMemoryResponse* response) override;
  grpc::ServerUnaryReactor* Write(
      grpc::CallbackServerContext* context,
      const worker::v1::WriteMemoryRequest* request,
      worker::v1::WriteMemoryResponse* response) override;
  grpc::ServerUnaryReactor* Read(
      grpc::CallbackServerContext* context,
      const worker::v1::ReadMemoryRequest* request,
      worker::v1::ReadMemoryResponse* response) override;
  grpc::ServerUnaryReactor* DropOpenRows(
      grpc::CallbackServerContext* context,
      const worker::v1::DropOpenRowsRequest* request,
      worker::v1::DropOpenRowsResponse* response) override;
  grpc::ServerUnaryReactor* Fork(grpc::CallbackServerContext* context,
                                 const worker::v1::ForkMemoryRequest* request,
                                 worker::v1::MemoryBytes* response) override;
  grpc::ServerUnaryReactor* Export(
      grpc::CallbackServerContext* context,
      const worker::v1::ExportMemoryRequest* request,
      worker::v1::ExportMemoryResponse* response) override;
  grpc::ServerUnaryReactor* Delete(
      grpc::CallbackServerContext* context,
      const worker::v1::DeleteMemoryRequest* request,
      worker::v1::DeleteMemoryResponse* response) override;
  grpc::ServerUnaryReactor* Renew(
      grpc::CallbackServerContext* context,
      const worker::v1::RenewMemoriesRequest* request,
      worker::v1::RenewMemoriesResponse* response) override;

 private:
  MemoryNode& node_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_MEMORY_WORKER_SERVICE_H_
