#include "client/cpp/selection_client.h"

#include <utility>

#include "absl/time/time.h"
#include "client/cpp/client_call.h"
#include "client/cpp/document_sender.h"

namespace headwise {

SelectionClient::SelectionClient(std::shared_ptr<grpc::Channel> channel,
                                 const ClientOptions& options)
    : options_(options), stub_(v1::Selection::NewStub(std::move(channel))) {}

ClientOptions SelectionClient::WithoutDeadline() const {
  ClientOptions options = options_;
  options.timeout = absl::InfiniteDuration();
  return options;
}

absl::Status SelectionClient::ScoreDocuments(
    const v1::ScoreDocumentsTerms& terms,
    absl::FunctionRef<absl::StatusOr<bool>(v1::SelectionDocument*)> next,
    absl::FunctionRef<absl::Status(const v1::SelectionRow&)> on_row) {
  return DocumentSender(WithoutDeadline(), *stub_, terms, next, on_row).Run();
}

absl::StatusOr<v1::SelectionJob> SelectionClient::CreateJob(
    const v1::CreateJobRequest& request,
    absl::FunctionRef<bool(const v1::InputProgress&)> on_progress) {
  v1::SelectionJob job;
  const absl::Status status = CallStream<v1::CreateJobResponse>(
      options_,
      [&](grpc::ClientContext* context) {
        return stub_->CreateJob(context, request);
      },
      [&](const v1::CreateJobResponse& event) {
        if (event.has_job()) job = event.job();
        return !event.has_input() || on_progress(event.input());
      });
  if (!status.ok()) return status;
  if (job.job_id().empty()) {
    return absl::InternalError("the server ended without a job");
  }
  return job;
}

absl::Status SelectionClient::WatchJob(
    const v1::WatchJobRequest& request,
    absl::FunctionRef<bool(const v1::SelectionJob&)> on_job) {
  return CallStream<v1::SelectionJob>(
      WithoutDeadline(),
      [&](grpc::ClientContext* context) {
        return stub_->WatchJob(context, request);
      },
      on_job);
}

absl::Status SelectionClient::TopK(
    const v1::TopKRequest& request,
    absl::FunctionRef<bool(const v1::TopKResponse::Ranked&)> on_row) {
  return CallStream<v1::TopKResponse>(
      options_,
      [&](grpc::ClientContext* context) {
        return stub_->TopK(context, request);
      },
      [&](const v1::TopKResponse& message) {
        for (const auto& row : message.rows()) {
          if (!on_row(row)) return false;
        }
        return true;
      });
}

template <typename Request>
absl::StatusOr<v1::SelectionJob> SelectionClient::OnJob(
    grpc::Status (v1::Selection::Stub::*method)(grpc::ClientContext*,
                                                const Request&,
                                                v1::SelectionJob*),
    const std::string& job_id) {
  Request request;
  request.set_job_id(job_id);
  return CallUnary<v1::SelectionJob>(
      options_, [&](grpc::ClientContext* context, v1::SelectionJob* response) {
        return (stub_.get()->*method)(context, request, response);
      });
}

absl::StatusOr<v1::SelectionJob> SelectionClient::GetJob(
    const std::string& job_id) {
  return OnJob(&v1::Selection::Stub::GetJob, job_id);
}

absl::StatusOr<v1::SelectionJob> SelectionClient::PauseJob(
    const std::string& job_id) {
  return OnJob(&v1::Selection::Stub::PauseJob, job_id);
}

absl::StatusOr<v1::SelectionJob> SelectionClient::ResumeJob(
    const std::string& job_id) {
  return OnJob(&v1::Selection::Stub::ResumeJob, job_id);
}

absl::StatusOr<v1::SelectionJob> SelectionClient::CancelJob(
    const std::string& job_id) {
  return OnJob(&v1::Selection::Stub::CancelJob, job_id);
}

absl::StatusOr<v1::ListJobsResponse> SelectionClient::ListJobs() {
  return CallUnary<v1::ListJobsResponse>(
      options_,
      [&](grpc::ClientContext* context, v1::ListJobsResponse* response) {
        return stub_->ListJobs(context, {}, response);
      });
}

absl::StatusOr<v1::QuantilesResponse> SelectionClient::Quantiles(
    const v1::QuantilesRequest& request) {
  return CallUnary<v1::QuantilesResponse>(
      options_,
      [&](grpc::ClientContext* context, v1::QuantilesResponse* response) {
        return stub_->Quantiles(context, request, response);
      });
}

}  // namespace headwise
