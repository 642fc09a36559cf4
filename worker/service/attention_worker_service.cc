#include "worker/service/attention_worker_service.h"

#include <string>
#include <utility>

#include "base/status_macros.h"
#include "worker/service/store_call.h"
#include "worker/session_wire/session_wire.h"

namespace headwise {

grpc::ServerUnaryReactor* AttentionWorkerService::OpenPart(
    grpc::CallbackServerContext* context,
    const worker::v1::OpenPartRequest* request,
    worker::v1::PartBytes* response) {
  return AnswerFrom<SessionStore>(
      node_, context, request, response,
      [request, response](SessionStore& store) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(const OpenPartRequest open,
                                  ParseOpenPart(*request));
        HEADWISE_ASSIGN_OR_RETURN(const int64_t bytes, store.Open(open));
        response->set_reserved_bytes(bytes);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AttentionWorkerService::Stage(
    grpc::CallbackServerContext* context,
    const worker::v1::StageRequest* request,
    worker::v1::StageResponse* response) {
  return AnswerFrom<SessionStore>(node_, context, request, response,
                                  [request](SessionStore& store) {
                                    return store.Stage(ParseStage(*request));
                                  });
}

grpc::ServerUnaryReactor* AttentionWorkerService::AttendPart(
    grpc::CallbackServerContext* context,
    const worker::v1::AttendPartRequest* request,
    worker::v1::AttendPartResponse* response) {
  return AnswerFrom<SessionStore>(
      node_, context, request, response,
      [request, response](SessionStore& store) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(const AttendPartResult result,
                                  store.Attend(ParseAttendPart(*request)));
        WriteAttendResult(result, response);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AttentionWorkerService::ProbePart(
    grpc::CallbackServerContext* context,
    const worker::v1::ProbePartRequest* request,
    worker::v1::ProbePartResponse* response) {
  return AnswerFrom<SessionStore>(
      node_, context, request, response,
      [request, response](SessionStore& store) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(const ProbePartResult result,
                                  store.Probe(ParseProbePart(*request)));
        WriteProbeResult(result, response);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AttentionWorkerService::ForkPart(
    grpc::CallbackServerContext* context,
    const worker::v1::ForkPartRequest* request,
    worker::v1::PartBytes* response) {
  return AnswerFrom<SessionStore>(
      node_, context, request, response,
      [request, response](SessionStore& store) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(
            const int64_t bytes,
            store.Fork(request->session_id(), request->fork_id(),
                       request->length()));
        response->set_reserved_bytes(bytes);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AttentionWorkerService::ExportBlocks(
    grpc::CallbackServerContext* context,
    const worker::v1::ExportBlocksRequest* request,
    worker::v1::ExportBlocksResponse* response) {
  return AnswerFrom<SessionStore>(
      node_, context, request, response,
      [request, response](SessionStore& store) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(
            std::string bytes,
            store.Export(request->session_id(), ParseRun(request->run()),
                         request->length()));
        response->set_data(std::move(bytes));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AttentionWorkerService::ImportBlocks(
    grpc::CallbackServerContext* context,
    const worker::v1::ImportBlocksRequest* request,
    worker::v1::ImportBlocksResponse* response) {
  return AnswerFrom<SessionStore>(
      node_, context, request, response, [request](SessionStore& store) {
        return store.Import(request->session_id(), ParseRun(request->run()),
                            request->data());
      });
}

grpc::ServerUnaryReactor* AttentionWorkerService::DeletePart(
    grpc::CallbackServerContext* context,
    const worker::v1::DeletePartRequest* request,
    worker::v1::DeletePartResponse* response) {
  return AnswerFrom<SessionStore>(node_, context, request, response,
                                  [request](SessionStore& store) {
                                    return store.Delete(request->session_id());
                                  });
}

grpc::ServerUnaryReactor* AttentionWorkerService::Renew(
    grpc::CallbackServerContext* context,
    const worker::v1::RenewRequest* request,
    worker::v1::RenewResponse* response) {
  return AnswerFrom<SessionStore>(
      node_, context, request, response,
      [request, response](SessionStore& store) {
        for (std::string& id : store.Renew({request->session_ids().begin(),
                                            request->session_ids().end()})) {
          response->add_missing(std::move(id));
        }
        return absl::OkStatus();
      });
}

}  // namespace headwise
