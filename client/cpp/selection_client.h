// A typed client of headwise.v1.Selection.

#ifndef HEADWISE_CLIENT_CPP_SELECTION_CLIENT_H_
#define HEADWISE_CLIENT_CPP_SELECTION_CLIENT_H_

#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cpp/client.h"
#include "grpcpp/channel.h"
#include "headwise/v1/selection.grpc.pb.h"

namespace headwise {

// Thread-safe; calls block. Statuses are the server's, or DeadlineExceeded or
// Unavailable of the transport.
class SelectionClient {
 public:
  SelectionClient(std::shared_ptr<grpc::Channel> channel,
                  const ClientOptions& options);

  // Streams what `next` gives until it says false, while `on_row` is told the
  // rows, in the same order, on another thread. At most some thousand documents
  // or 64 MiB of text are on their way. After Unavailable a new stream is sent
  // those that have no row, up to options.retry.max_attempts times without one
  // row more. Documents need ids of their own. An error of either function ends
  // it and is returned. No deadline.
  absl::Status ScoreDocuments(
      const v1::ScoreDocumentsTerms& terms,
      absl::FunctionRef<absl::StatusOr<bool>(v1::SelectionDocument*)> next,
      absl::FunctionRef<absl::Status(const v1::SelectionRow&)> on_row);

  // False from a function cancels the call, which then returns Cancelled.
  absl::StatusOr<v1::SelectionJob> CreateJob(
      const v1::CreateJobRequest& request,
      absl::FunctionRef<bool(const v1::InputProgress&)> on_progress);
  // No deadline.
  absl::Status WatchJob(
      const v1::WatchJobRequest& request,
      absl::FunctionRef<bool(const v1::SelectionJob&)> on_job);
  absl::Status TopK(
      const v1::TopKRequest& request,
      absl::FunctionRef<bool(const v1::TopKResponse::Ranked&)> on_row);

  absl::StatusOr<v1::SelectionJob> GetJob(const std::string& job_id);
  absl::StatusOr<v1::SelectionJob> PauseJob(const std::string& job_id);
  absl::StatusOr<v1::SelectionJob> ResumeJob(const std::string& job_id);
  absl::StatusOr<v1::SelectionJob> CancelJob(const std::string& job_id);
  absl::StatusOr<v1::ListJobsResponse> ListJobs();
  absl::StatusOr<v1::QuantilesResponse> Quantiles(
      const v1::QuantilesRequest& request);

 private:
  template <typename Request>
  absl::StatusOr<v1::SelectionJob> OnJob(
      grpc::Status (v1::Selection::Stub::*method)(grpc::ClientContext*,
                                                  const Request&,
                                                  v1::SelectionJob*),
      const std::string& job_id);
  ClientOptions WithoutDeadline() const;

  const ClientOptions options_;
  const std::unique_ptr<v1::Selection::Stub> stub_;
};

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CPP_SELECTION_CLIENT_H_
