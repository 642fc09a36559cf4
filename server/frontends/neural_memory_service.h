// headwise.v1.NeuralMemory over NeuralMemories.

#ifndef HEADWISE_SERVER_FRONTENDS_NEURAL_MEMORY_SERVICE_H_
#define HEADWISE_SERVER_FRONTENDS_NEURAL_MEMORY_SERVICE_H_

#include "grpcpp/support/server_callback.h"
#include "headwise/v1/neural_memory.grpc.pb.h"
#include "server/frontends/frontend_context.h"
#include "server/frontends/pooled_calls.h"
#include "server/neural_memory/neural_memories.h"

namespace headwise {

// Callbacks run on gRPC threads and never block; calls wait for workers on a
// pool of kNumThreads.
class NeuralMemoryService final : public v1::NeuralMemory::CallbackService {
 public:
  // `memories` must outlive the server that the service belongs to.
  NeuralMemoryService(const FrontendContext& frontend, NeuralMemories& memories)
      : model_(frontend.model),
        memories_(memories),
        calls_(frontend, kNumThreads) {}

  grpc::ServerUnaryReactor* Create(grpc::CallbackServerContext* context,
                                   const v1::CreateMemoryRequest* request,
                                   v1::Memory* response) override;
  grpc::ServerUnaryReactor* Write(grpc::CallbackServerContext* context,
                                  const v1::WriteMemoryRequest* request,
                                  v1::WriteMemoryResponse* response) override;
  grpc::ServerUnaryReactor* DropOpenTokens(
      grpc::CallbackServerContext* context,
      const v1::DropOpenTokensRequest* request,
      v1::DropOpenTokensResponse* response) override;
  grpc::ServerUnaryReactor* Read(grpc::CallbackServerContext* context,
                                 const v1::ReadMemoryRequest* request,
                                 v1::ReadMemoryResponse* response) override;
  grpc::ServerUnaryReactor* Freeze(grpc::CallbackServerContext* context,
                                   const v1::FreezeMemoryRequest* request,
                                   v1::Memory* response) override;
  grpc::ServerUnaryReactor* Unfreeze(grpc::CallbackServerContext* context,
                                     const v1::FreezeMemoryRequest* request,
                                     v1::Memory* response) override;
  grpc::ServerUnaryReactor* Fork(grpc::CallbackServerContext* context,
                                 const v1::ForkMemoryRequest* request,
                                 v1::Memory* response) override;
  grpc::ServerWriteReactor<v1::MemorySnapshotPart>* Snapshot(
      grpc::CallbackServerContext* context,
      const v1::SnapshotMemoryRequest* request) override;
  grpc::ServerReadReactor<v1::MemorySnapshotPart>* Restore(
      grpc::CallbackServerContext* context, v1::Memory* response) override;
  grpc::ServerUnaryReactor* GetMemory(grpc::CallbackServerContext* context,
                                      const v1::GetMemoryRequest* request,
                                      v1::Memory* response) override;
  grpc::ServerUnaryReactor* ListMemories(
      grpc::CallbackServerContext* context,
      const v1::ListMemoriesRequest* request,
      v1::ListMemoriesResponse* response) override;
  grpc::ServerUnaryReactor* Delete(grpc::CallbackServerContext* context,
                                   const v1::DeleteMemoryRequest* request,
                                   v1::DeleteMemoryResponse* response) override;

  static constexpr int kNumThreads = 8;

 private:
  grpc::ServerUnaryReactor* SetFrozen(const char* api,
                                      grpc::CallbackServerContext* context,
                                      const v1::FreezeMemoryRequest* request,
                                      bool frozen, v1::Memory* response);

  const ServedModel& model_;
  NeuralMemories& memories_;
  PooledCalls calls_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_NEURAL_MEMORY_SERVICE_H_
