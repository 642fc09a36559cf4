#include "server/neural_memory/grpc_memory_link.h"

#include <utility>

#include "server/leases/grpc_call.h"
#include "worker/memory_wire/memory_wire.h"

namespace headwise {
namespace {

using worker::v1::MemoryWorker;
using Async = MemoryWorker::StubInterface::async_interface;
template <typename Request, typename Response>
using Call = GrpcCall<MemoryWorker, Request, Response>;

absl::StatusOr<int64_t> ReadBytes(worker::v1::MemoryBytes& response) {
  return response.reserved_bytes();
}

}  // namespace

void GrpcMemoryLink::Open(OpenMemoryRequest request, absl::Duration timeout,
                          Done<int64_t> done) {
  Call<worker::v1::OpenMemoryRequest, worker::v1::MemoryBytes> call(stub_,
                                                                    timeout);
  WriteOpenMemory(request, &call.request());
  call.Start<int64_t>(&Async::Open, std::move(done), ReadBytes);
}

void GrpcMemoryLink::Import(ImportMemoryRequest request, absl::Duration timeout,
                            Done<Nothing> done) {
  Call<worker::v1::ImportMemoryRequest, worker::v1::ImportMemoryResponse> call(
      stub_, timeout);
  call.request().set_memory_id(request.memory_id);
  call.request().set_head(request.head);
  call.request().set_num_tokens(request.num_tokens);
  call.request().set_data(std::move(request.data));
  call.StartForNothing(&Async::Import, std::move(done));
}

void GrpcMemoryLink::Write(WriteMemoryRequest request, absl::Duration timeout,
                           Done<WriteMemoryResult> done) {
  Call<worker::v1::WriteMemoryRequest, worker::v1::WriteMemoryResponse> call(
      stub_, timeout);
  WriteWriteMemory(request, &call.request());
  call.Start<WriteMemoryResult>(
      &Async::Write, std::move(done),
      [](const auto& response) -> absl::StatusOr<WriteMemoryResult> {
        return ParseWriteResult(response);
      });
}

void GrpcMemoryLink::Read(ReadMemoryRequest request, absl::Duration timeout,
                          Done<std::vector<float>> done) {
  Call<worker::v1::ReadMemoryRequest, worker::v1::ReadMemoryResponse> call(
      stub_, timeout);
  WriteReadMemory(request, &call.request());
  call.Start<std::vector<float>>(
      &Async::Read, std::move(done),
      [](const auto& response) -> absl::StatusOr<std::vector<float>> {
        return std::vector<float>(response.outputs().begin(),
                                  response.outputs().end());
      });
}

void GrpcMemoryLink::DropOpenRows(DropOpenRowsRequest request,
                                  absl::Duration timeout, Done<Nothing> done) {
  Call<worker::v1::DropOpenRowsRequest, worker::v1::DropOpenRowsResponse> call(
      stub_, timeout);
  call.request().set_memory_id(std::move(request.memory_id));
  call.request().set_version(request.version);
  call.request().set_next_version(request.next_version);
  call.StartForNothing(&Async::DropOpenRows, std::move(done));
}

void GrpcMemoryLink::Fork(const std::string& memory_id,
                          const std::string& fork_id, int64_t version,
                          absl::Duration timeout, Done<int64_t> done) {
  Call<worker::v1::ForkMemoryRequest, worker::v1::MemoryBytes> call(stub_,
                                                                    timeout);
  call.request().set_memory_id(memory_id);
  call.request().set_fork_id(fork_id);
  call.request().set_version(version);
  call.Start<int64_t>(&Async::Fork, std::move(done), ReadBytes);
}

void GrpcMemoryLink::Export(const std::string& memory_id, int64_t head,
                            int64_t version, absl::Duration timeout,
                            Done<std::string> done) {
  Call<worker::v1::ExportMemoryRequest, worker::v1::ExportMemoryResponse> call(
      stub_, timeout);
  call.request().set_memory_id(memory_id);
  call.request().set_head(head);
  call.request().set_version(version);
  call.Start<std::string>(&Async::Export, std::move(done),
                          [](auto& response) -> absl::StatusOr<std::string> {
                            return std::move(*response.mutable_data());
                          });
}

void GrpcMemoryLink::Delete(const std::string& memory_id,
                            absl::Duration timeout, Done<Nothing> done) {
  Call<worker::v1::DeleteMemoryRequest, worker::v1::DeleteMemoryResponse> call(
      stub_, timeout);
  call.request().set_memory_id(memory_id);
  call.StartForNothing(&Async::Delete, std::move(done));
}

void GrpcMemoryLink::Renew(std::vector<std::string> memory_ids,
                           absl::Duration timeout,
                           Done<std::vector<std::string>> done) {
  Call<worker::v1::RenewMemoriesRequest, worker::v1::RenewMemoriesResponse>
      call(stub_, timeout);
  for (std::string& id : memory_ids) {
    call.request().add_memory_ids(std::move(id));
  }
  call.Start<std::vector<std::string>>(
      &Async::Renew, std::move(done),
      [](const auto& response) -> absl::StatusOr<std::vector<std::string>> {
        return std::vector<std::string>(response.missing().begin(),
                                        response.missing().end());
      });
}

}  // namespace headwise
