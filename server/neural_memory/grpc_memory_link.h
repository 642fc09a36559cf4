// MemoryLink over gRPC.

#ifndef HEADWISE_SERVER_NEURAL_MEMORY_GRPC_MEMORY_LINK_H_
#define HEADWISE_SERVER_NEURAL_MEMORY_GRPC_MEMORY_LINK_H_

#include <memory>
#include <string>
#include <vector>

#include "grpcpp/channel.h"
#include "headwise/worker/v1/memory_worker.grpc.pb.h"
#include "server/neural_memory/memory_link.h"

namespace headwise {

// Keeps one channel, as MakeWorkerChannel makes it. Callbacks come in any case,
// perhaps after the destructor.
class GrpcMemoryLink final : public MemoryLink {
 public:
  explicit GrpcMemoryLink(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(worker::v1::MemoryWorker::NewStub(channel)) {}

  void Open(OpenMemoryRequest request, absl::Duration timeout,
            Done<int64_t> done) override;
  void Import(ImportMemoryRequest request, absl::Duration timeout,
              Done<Nothing> done) override;
  void Write(WriteMemoryRequest request, absl::Duration timeout,
             Done<WriteMemoryResult> done) override;
  void Read(ReadMemoryRequest request, absl::Duration timeout,
            Done<std::vector<float>> done) override;
  void DropOpenRows(DropOpenRowsRequest request, absl::Duration timeout,
                    Done<Nothing> done) override;
  void Fork(const std::string& memory_id, const std::string& fork_id,
            int64_t version, absl::Duration timeout,
            Done<int64_t> done) override;
  void Export(const std::string& memory_id, int64_t head, int64_t version,
              absl::Duration timeout, Done<std::string> done) override;
  void Delete(const std::string& memory_id, absl::Duration timeout,
              Done<Nothing> done) override;
  void Renew(std::vector<std::string> memory_ids, absl::Duration timeout,
             Done<std::vector<std::string>> done) override;

 private:
  const std::shared_ptr<worker::v1::MemoryWorker::Stub> stub_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_NEURAL_MEMORY_GRPC_MEMORY_LINK_H_
