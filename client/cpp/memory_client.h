// A typed client of headwise.v1.NeuralMemory.

#ifndef HEADWISE_CLIENT_CPP_MEMORY_CLIENT_H_
#define HEADWISE_CLIENT_CPP_MEMORY_CLIENT_H_

#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cpp/client.h"
#include "grpcpp/channel.h"
#include "headwise/v1/neural_memory.grpc.pb.h"

namespace headwise {

// Thread-safe; calls block. Statuses are the server's, or DeadlineExceeded or
// Unavailable of the transport.
class MemoryClient {
 public:
  MemoryClient(std::shared_ptr<grpc::Channel> channel,
               const ClientOptions& options);

  absl::StatusOr<v1::Memory> Create(const v1::CreateMemoryRequest& request);
  // A write is known by its offset and hash, so it may be repeated.
  absl::StatusOr<v1::WriteMemoryResponse> Write(
      const v1::WriteMemoryRequest& request);
  absl::StatusOr<v1::ReadMemoryResponse> Read(
      const v1::ReadMemoryRequest& request);
  absl::StatusOr<v1::DropOpenTokensResponse> DropOpenTokens(
      const std::string& memory_id);
  absl::StatusOr<v1::Memory> Freeze(const std::string& memory_id);
  absl::StatusOr<v1::Memory> Unfreeze(const std::string& memory_id);
  absl::StatusOr<v1::Memory> Fork(const v1::ForkMemoryRequest& request);
  absl::StatusOr<v1::Memory> Get(const std::string& memory_id);
  absl::StatusOr<v1::ListMemoriesResponse> List();
  absl::Status Delete(const std::string& memory_id);

  // False from `on_part` cancels the call, which then returns Cancelled.
  absl::Status Snapshot(
      const std::string& memory_id,
      absl::FunctionRef<bool(const v1::MemorySnapshotPart&)> on_part);
  // Streams what `next` gives until it says false. An error of it ends the call
  // and is returned. Never repeated.
  absl::StatusOr<v1::Memory> Restore(
      absl::FunctionRef<absl::StatusOr<bool>(v1::MemorySnapshotPart*)> next);

 private:
  const ClientOptions options_;
  const std::unique_ptr<v1::NeuralMemory::Stub> stub_;
};

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CPP_MEMORY_CLIENT_H_
