#include "server/attention/grpc_attention_link.h"

#include <utility>

#include "server/leases/grpc_call.h"
#include "worker/session_wire/session_wire.h"

namespace headwise {
namespace {

using worker::v1::AttentionWorker;
using Async = AttentionWorker::StubInterface::async_interface;
template <typename Request, typename Response>
using Call = GrpcCall<AttentionWorker, Request, Response>;

absl::StatusOr<int64_t> ReadBytes(worker::v1::PartBytes& response) {
  return response.reserved_bytes();
}

}  // namespace

void GrpcAttentionLink::Open(OpenPartRequest request, absl::Duration timeout,
                             Done<int64_t> done) {
  Call<worker::v1::OpenPartRequest, worker::v1::PartBytes> call(stub_, timeout);
  WriteOpenPart(request, &call.request());
  call.Start<int64_t>(&Async::OpenPart, std::move(done), ReadBytes);
}

void GrpcAttentionLink::Stage(StageRequest request, absl::Duration timeout,
                              Done<Nothing> done) {
  Call<worker::v1::StageRequest, worker::v1::StageResponse> call(stub_,
                                                                 timeout);
  WriteStage(std::move(request), &call.request());
  call.StartForNothing(&Async::Stage, std::move(done));
}

void GrpcAttentionLink::Attend(AttendPartRequest request,
                               absl::Duration timeout,
                               Done<AttendPartResult> done) {
  Call<worker::v1::AttendPartRequest, worker::v1::AttendPartResponse> call(
      stub_, timeout);
  WriteAttendPart(request, &call.request());
  call.Start<AttendPartResult>(
      &Async::AttendPart, std::move(done),
      [](const auto& response) -> absl::StatusOr<AttendPartResult> {
        return ParseAttendResult(response);
      });
}

void GrpcAttentionLink::Probe(ProbePartRequest request, absl::Duration timeout,
                              Done<ProbePartResult> done) {
  Call<worker::v1::ProbePartRequest, worker::v1::ProbePartResponse> call(
      stub_, timeout);
  WriteProbePart(request, &call.request());
  call.Start<ProbePartResult>(
      &Async::ProbePart, std::move(done),
      [](const auto& response) { return ParseProbeResult(response); });
}

void GrpcAttentionLink::Fork(const std::string& session_id,
                             const std::string& fork_id, int64_t length,
                             absl::Duration timeout, Done<int64_t> done) {
  Call<worker::v1::ForkPartRequest, worker::v1::PartBytes> call(stub_, timeout);
  call.request().set_session_id(session_id);
  call.request().set_fork_id(fork_id);
  call.request().set_length(length);
  call.Start<int64_t>(&Async::ForkPart, std::move(done), ReadBytes);
}

void GrpcAttentionLink::Export(const std::string& session_id,
                               const BlockRun& run, int64_t length,
                               absl::Duration timeout, Done<std::string> done) {
  Call<worker::v1::ExportBlocksRequest, worker::v1::ExportBlocksResponse> call(
      stub_, timeout);
  call.request().set_session_id(session_id);
  WriteRun(run, call.request().mutable_run());
  call.request().set_length(length);
  call.Start<std::string>(&Async::ExportBlocks, std::move(done),
                          [](auto& response) -> absl::StatusOr<std::string> {
                            return std::move(*response.mutable_data());
                          });
}

void GrpcAttentionLink::Import(const std::string& session_id,
                               const BlockRun& run, std::string data,
                               absl::Duration timeout, Done<Nothing> done) {
  Call<worker::v1::ImportBlocksRequest, worker::v1::ImportBlocksResponse> call(
      stub_, timeout);
  call.request().set_session_id(session_id);
  WriteRun(run, call.request().mutable_run());
  call.request().set_data(std::move(data));
  call.StartForNothing(&Async::ImportBlocks, std::move(done));
}

void GrpcAttentionLink::Delete(const std::string& session_id,
                               absl::Duration timeout, Done<Nothing> done) {
  Call<worker::v1::DeletePartRequest, worker::v1::DeletePartResponse> call(
      stub_, timeout);
  call.request().set_session_id(session_id);
  call.StartForNothing(&Async::DeletePart, std::move(done));
}

void GrpcAttentionLink::Renew(std::vector<std::string> session_ids,
                              absl::Duration timeout,
                              Done<std::vector<std::string>> done) {
  Call<worker::v1::RenewRequest, worker::v1::RenewResponse> call(stub_,
                                                                 timeout);
  for (std::string& id : session_ids) {
    call.request().add_session_ids(std::move(id));
  }
  call.Start<std::vector<std::string>>(
      &Async::Renew, std::move(done),
      [](const auto& response) -> absl::StatusOr<std::vector<std::string>> {
        return std::vector<std::string>(response.missing().begin(),
                                        response.missing().end());
      });
}

}  // namespace headwise
