#include "worker/service/memory_worker_service.h"

#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "worker/memory_wire/memory_wire.h"
#include "worker/service/store_call.h"

namespace headwise {

grpc::ServerUnaryReactor* MemoryWorkerService::Open(
    grpc::CallbackServerContext* context,
    const worker::v1::OpenMemoryRequest* request,
    worker::v1::MemoryBytes* response) {
  return AnswerFrom<MemoryStore>(
      node_, context, request, response,
      [request, response](MemoryStore& store) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(const OpenMemoryRequest open,
                                  ParseOpenMemory(*request));
        HEADWISE_ASSIGN_OR_RETURN(const int64_t bytes, store.Open(open));
        response->set_reserved_bytes(bytes);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* MemoryWorkerService::Import(
    grpc::CallbackServerContext* context,
    const worker::v1::ImportMemoryRequest* request,
    worker::v1::ImportMemoryResponse* response) {
  return AnswerFrom<MemoryStore>(
      node_, context, request, response, [request](MemoryStore& store) {
        return store.Import({request->memory_id(), request->head(),
                             request->num_tokens(), request->data()});
      });
}

grpc::ServerUnaryReactor* MemoryWorkerService::Write(
    grpc::CallbackServerContext* context,
    const worker::v1::WriteMemoryRequest* request,
    worker::v1::WriteMemoryResponse* response) {
  return AnswerFrom<MemoryStore>(
      node_, context, request, response,
      [request, response](MemoryStore& store) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(const WriteMemoryResult result,
                                  store.Write(ParseWriteMemory(*request)));
        WriteWriteResult(result, response);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* MemoryWorkerService::Read(
    grpc::CallbackServerContext* context,
    const worker::v1::ReadMemoryRequest* request,
    worker::v1::ReadMemoryResponse* response) {
  return AnswerFrom<MemoryStore>(
      node_, context, request, response,
      [request, response](MemoryStore& store) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(const std::vector<float> outputs,
                                  store.Read(ParseReadMemory(*request)));
        response->mutable_outputs()->Assign(outputs.begin(), outputs.end());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* MemoryWorkerService::DropOpenRows(
    grpc::CallbackServerContext* context,
    const worker::v1::DropOpenRowsRequest* request,
    worker::v1::DropOpenRowsResponse* response) {
  return AnswerFrom<MemoryStore>(
      node_, context, request, response, [request](MemoryStore& store) {
        return store.DropOpenRows({request->memory_id(), request->version(),
                                   request->next_version()});
      });
}

grpc::ServerUnaryReactor* MemoryWorkerService::Fork(
    grpc::CallbackServerContext* context,
    const worker::v1::ForkMemoryRequest* request,
    worker::v1::MemoryBytes* response) {
  return AnswerFrom<MemoryStore>(
      node_, context, request, response,
      [request, response](MemoryStore& store) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(
            const int64_t bytes,
            store.Fork(request->memory_id(), request->fork_id(),
                       request->version()));
        response->set_reserved_bytes(bytes);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* MemoryWorkerService::Export(
    grpc::CallbackServerContext* context,
    const worker::v1::ExportMemoryRequest* request,
    worker::v1::ExportMemoryResponse* response) {
  return AnswerFrom<MemoryStore>(
      node_, context, request, response,
      [request, response](MemoryStore& store) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(
            std::string bytes,
            store.Export(request->memory_id(), request->head(),
                         request->version()));
        response->set_data(std::move(bytes));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* MemoryWorkerService::Delete(
    grpc::CallbackServerContext* context,
    const worker::v1::DeleteMemoryRequest* request,
    worker::v1::DeleteMemoryResponse* response) {
  return AnswerFrom<MemoryStore>(node_, context, request, response,
                                 [request](MemoryStore& store) {
                                   return store.Delete(request->memory_id());
                                 });
}

grpc::ServerUnaryReactor* MemoryWorkerService::Renew(
    grpc::CallbackServerContext* context,
    const worker::v1::RenewMemoriesRequest* request,
    worker::v1::RenewMemoriesResponse* response) {
  return AnswerFrom<MemoryStore>(
      node_, context, request, response,
      [request, response](MemoryStore& store) {
        for (std::string& id : store.Renew({request->memory_ids().begin(),
                                            request->memory_ids().end()})) {
          response->add_missing(std::move(id));
        }
        return absl::OkStatus();
      });
}

}  // namespace headwise
