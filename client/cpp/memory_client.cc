#include "client/cpp/memory_client.h"

#include <utility>

#include "client/cpp/client_call.h"

namespace headwise {

MemoryClient::MemoryClient(std::shared_ptr<grpc::Channel> channel,
                           const ClientOptions& options)
    : options_(options), stub_(v1::NeuralMemory::NewStub(std::move(channel))) {}

absl::StatusOr<v1::Memory> MemoryClient::Create(
    const v1::CreateMemoryRequest& request) {
  return CallUnary<v1::Memory>(
      options_, [&](grpc::ClientContext* context, v1::Memory* memory) {
        return stub_->Create(context, request, memory);
      });
}

absl::StatusOr<v1::WriteMemoryResponse> MemoryClient::Write(
    const v1::WriteMemoryRequest& request) {
  return CallUnary<v1::WriteMemoryResponse>(
      options_,
      [&](grpc::ClientContext* context, v1::WriteMemoryResponse* response) {
        return stub_->Write(context, request, response);
      });
}

absl::StatusOr<v1::ReadMemoryResponse> MemoryClient::Read(
    const v1::ReadMemoryRequest& request) {
  return CallUnary<v1::ReadMemoryResponse>(
      options_,
      [&](grpc::ClientContext* context, v1::ReadMemoryResponse* response) {
        return stub_->Read(context, request, response);
      });
}

absl::StatusOr<v1::DropOpenTokensResponse> MemoryClient::DropOpenTokens(
    const std::string& memory_id) {
  v1::DropOpenTokensRequest request;
  request.set_memory_id(memory_id);
  return CallUnary<v1::DropOpenTokensResponse>(
      options_,
      [&](grpc::ClientContext* context, v1::DropOpenTokensResponse* response) {
        return stub_->DropOpenTokens(context, request, response);
      });
}

absl::StatusOr<v1::Memory> MemoryClient::Freeze(const std::string& memory_id) {
  v1::FreezeMemoryRequest request;
  request.set_memory_id(memory_id);
  return CallUnary<v1::Memory>(
      options_, [&](grpc::ClientContext* context, v1::Memory* memory) {
        return stub_->Freeze(context, request, memory);
      });
}

absl::StatusOr<v1::Memory> MemoryClient::Unfreeze(
    const std::string& memory_id) {
  v1::FreezeMemoryRequest request;
  request.set_memory_id(memory_id);
  return CallUnary<v1::Memory>(
      options_, [&](grpc::ClientContext* context, v1::Memory* memory) {
        return stub_->Unfreeze(context, request, memory);
      });
}

absl::StatusOr<v1::Memory> MemoryClient::Fork(
    const v1::ForkMemoryRequest& request) {
  return CallUnary<v1::Memory>(
      options_, [&](grpc::ClientContext* context, v1::Memory* memory) {
        return stub_->Fork(context, request, memory);
      });
}

absl::StatusOr<v1::Memory> MemoryClient::Get(const std::string& memory_id) {
  v1::GetMemoryRequest request;
  request.set_memory_id(memory_id);
  return CallUnary<v1::Memory>(
      options_, [&](grpc::ClientContext* context, v1::Memory* memory) {
        return stub_->GetMemory(context, request, memory);
      });
}

absl::StatusOr<v1::ListMemoriesResponse> MemoryClient::List() {
  return CallUnary<v1::ListMemoriesResponse>(
      options_,
      [&](grpc::ClientContext* context, v1::ListMemoriesResponse* list) {
        return stub_->ListMemories(context, {}, list);
      });
}

absl::Status MemoryClient::Delete(const std::string& memory_id) {
  v1::DeleteMemoryRequest request;
  request.set_memory_id(memory_id);
  return CallUnary<v1::DeleteMemoryResponse>(
             options_,
             [&](grpc::ClientContext* context,
                 v1::DeleteMemoryResponse* response) {
               return stub_->Delete(context, request, response);
             })
      .status();
}

absl::Status MemoryClient::Snapshot(
    const std::string& memory_id,
    absl::FunctionRef<bool(const v1::MemorySnapshotPart&)> on_part) {
  v1::SnapshotMemoryRequest request;
  request.set_memory_id(memory_id);
  return CallStream<v1::MemorySnapshotPart>(
      options_,
      [&](grpc::ClientContext* context) {
        return stub_->Snapshot(context, request);
      },
      on_part);
}

absl::StatusOr<v1::Memory> MemoryClient::Restore(
    absl::FunctionRef<absl::StatusOr<bool>(v1::MemorySnapshotPart*)> next) {
  return CallUpload<v1::Memory, v1::MemorySnapshotPart>(
      options_,
      [&](grpc::ClientContext* context, v1::Memory* memory) {
        return stub_->Restore(context, memory);
      },
      next);
}

}  // namespace headwise
