#include "server/attention/grpc_attention_link.h"

#include <utility>

#include "absl/time/clock.h"
#include "grpcpp/client_context.h"
#include "worker/session_wire/session_wire.h"
#include "worker/step_wire/rpc_limits.h"

namespace headwise {
namespace {

using Stub = worker::v1::AttentionWorker::Stub;

// Owns itself until its callback has run; keeps the stub as long.
template <typename Request, typename Response>
struct Call {
  std::shared_ptr<Stub> stub;
  grpc::ClientContext context;
  Request request;
  Response response;
};

template <typename Request, typename Response>
std::shared_ptr<Call<Request, Response>> MakeCall(std::shared_ptr<Stub> stub,
                                                  absl::Duration timeout) {
  auto call = std::make_shared<Call<Request, Response>>();
  call->stub = std::move(stub);
  call->context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  return call;
}

// Starts `method` of the async stub; `read` makes the answer of the response.
template <typename T, typename Request, typename Response, typename Method,
          typename Read>
void Start(std::shared_ptr<Call<Request, Response>> call, Method method,
           Done<T> done, Read read) {
  auto* async = call->stub->async();
  auto& started = *call;
  (async->*method)(&started.context, &started.request, &started.response,
                   [call = std::move(call), done = std::move(done),
                    read](const grpc::Status& status) {
                     if (status.ok()) {
                       done(read(call->response));
                     } else {
                       done(StatusFromWire(status));
                     }
                   });
}

template <typename Response>
absl::StatusOr<Nothing> ReadNothing(const Response&) {
  return Nothing{};
}

// The overloads of a method of the async stub that take a callback.
template <typename Request, typename Response>
using Method =
    void (worker::v1::AttentionWorker::StubInterface::async_interface::*)(
        grpc::ClientContext*, const Request*, Response*,
        std::function<void(grpc::Status)>);

using Async = worker::v1::AttentionWorker::StubInterface::async_interface;

}  // namespace

void GrpcAttentionLink::Open(OpenPartRequest request, absl::Duration timeout,
                             Done<int64_t> done) {
  auto call = MakeCall<worker::v1::OpenPartRequest, worker::v1::PartBytes>(
      stub_, timeout);
  WriteOpenPart(request, &call->request);
  const Method<worker::v1::OpenPartRequest, worker::v1::PartBytes> method =
      &Async::OpenPart;
  Start<int64_t>(
      std::move(call), method, std::move(done),
      [](const worker::v1::PartBytes& response) -> absl::StatusOr<int64_t> {
        return response.reserved_bytes();
      });
}

void GrpcAttentionLink::Stage(StageRequest request, absl::Duration timeout,
                              Done<Nothing> done) {
  auto call = MakeCall<worker::v1::StageRequest, worker::v1::StageResponse>(
      stub_, timeout);
  WriteStage(std::move(request), &call->request);
  const Method<worker::v1::StageRequest, worker::v1::StageResponse> method =
      &Async::Stage;
  Start<Nothing>(std::move(call), method, std::move(done),
                 ReadNothing<worker::v1::StageResponse>);
}

void GrpcAttentionLink::Attend(AttendPartRequest request,
                               absl::Duration timeout,
                               Done<AttendPartResult> done) {
  auto call =
      MakeCall<worker::v1::AttendPartRequest, worker::v1::AttendPartResponse>(
          stub_, timeout);
  WriteAttendPart(request, &call->request);
  const Method<worker::v1::AttendPartRequest, worker::v1::AttendPartResponse>
      method = &Async::AttendPart;
  Start<AttendPartResult>(std::move(call), method, std::move(done),
                          [](const worker::v1::AttendPartResponse& response)
                              -> absl::StatusOr<AttendPartResult> {
                            return ParseAttendResult(response);
                          });
}

void GrpcAttentionLink::Probe(ProbePartRequest request, absl::Duration timeout,
                              Done<ProbePartResult> done) {
  auto call =
      MakeCall<worker::v1::ProbePartRequest, worker::v1::ProbePartResponse>(
          stub_, timeout);
  WriteProbePart(request, &call->request);
  const Method<worker::v1::ProbePartRequest, worker::v1::ProbePartResponse>
      method = &Async::ProbePart;
  Start<ProbePartResult>(std::move(call), method, std::move(done),
                         [](const worker::v1::ProbePartResponse& response) {
                           return ParseProbeResult(response);
                         });
}

void GrpcAttentionLink::Fork(const std::string& session_id,
                             const std::string& fork_id, int64_t length,
                             absl::Duration timeout, Done<int64_t> done) {
  auto call = MakeCall<worker::v1::ForkPartRequest, worker::v1::PartBytes>(
      stub_, timeout);
  call->request.set_session_id(session_id);
  call->request.set_fork_id(fork_id);
  call->request.set_length(length);
  const Method<worker::v1::ForkPartRequest, worker::v1::PartBytes> method =
      &Async::ForkPart;
  Start<int64_t>(
      std::move(call), method, std::move(done),
      [](const worker::v1::PartBytes& response) -> absl::StatusOr<int64_t> {
        return response.reserved_bytes();
      });
}

void GrpcAttentionLink::Export(const std::string& session_id,
                               const BlockRun& run, int64_t length,
                               absl::Duration timeout, Done<std::string> done) {
  auto call = MakeCall<worker::v1::ExportBlocksRequest,
                       worker::v1::ExportBlocksResponse>(stub_, timeout);
  call->request.set_session_id(session_id);
  WriteRun(run, call->request.mutable_run());
  call->request.set_length(length);
  const Method<worker::v1::ExportBlocksRequest,
               worker::v1::ExportBlocksResponse>
      method = &Async::ExportBlocks;
  Start<std::string>(std::move(call), method, std::move(done),
                     [](worker::v1::ExportBlocksResponse& response)
                         -> absl::StatusOr<std::string> {
                       return std::move(*response.mutable_data());
                     });
}

void GrpcAttentionLink::Import(const std::string& session_id,
                               const BlockRun& run, std::string data,
                               absl::Duration timeout, Done<Nothing> done) {
  auto call = MakeCall<worker::v1::ImportBlocksRequest,
                       worker::v1::ImportBlocksResponse>(stub_, timeout);
  call->request.set_session_id(session_id);
  WriteRun(run, call->request.mutable_run());
  call->request.set_data(std::move(data));
  const Method<worker::v1::ImportBlocksRequest,
               worker::v1::ImportBlocksResponse>
      method = &Async::ImportBlocks;
  Start<Nothing>(std::move(call), method, std::move(done),
                 ReadNothing<worker::v1::ImportBlocksResponse>);
}

void GrpcAttentionLink::Delete(const std::string& session_id,
                               absl::Duration timeout, Done<Nothing> done) {
  auto call =
      MakeCall<worker::v1::DeletePartRequest, worker::v1::DeletePartResponse>(
          stub_, timeout);
  call->request.set_session_id(session_id);
  const Method<worker::v1::DeletePartRequest, worker::v1::DeletePartResponse>
      method = &Async::DeletePart;
  Start<Nothing>(std::move(call), method, std::move(done),
                 ReadNothing<worker::v1::DeletePartResponse>);
}

void GrpcAttentionLink::Renew(std::vector<std::string> session_ids,
                              absl::Duration timeout,
                              Done<std::vector<std::string>> done) {
  auto call = MakeCall<worker::v1::RenewRequest, worker::v1::RenewResponse>(
      stub_, timeout);
  for (std::string& id : session_ids) {
    call->request.add_session_ids(std::move(id));
  }
  const Method<worker::v1::RenewRequest, worker::v1::RenewResponse> method =
      &Async::Renew;
  Start<std::vector<std::string>>(
      std::move(call), method, std::move(done),
      [](const worker::v1::RenewResponse& response)
          -> absl::StatusOr<std::vector<std::string>> {
        return std::vector<std::string>(response.missing().begin(),
                                        response.missing().end());
      });
}

}  // namespace headwise
