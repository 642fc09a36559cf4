// A typed client of headwise.v1.
//
// Three layers: Client (deadlines, statuses), CallWithRetry, and the generated
// stubs. Messages are those of the contract.

#ifndef HEADWISE_CLIENT_CPP_CLIENT_H_
#define HEADWISE_CLIENT_CPP_CLIENT_H_

#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cpp/retry_policy.h"
#include "grpcpp/channel.h"
#include "headwise/v1/admin.grpc.pb.h"
#include "headwise/v1/calibration.grpc.pb.h"
#include "headwise/v1/inference.grpc.pb.h"
#include "headwise/v1/plans.grpc.pb.h"
#include "headwise/v1/sessions.grpc.pb.h"
#include "proto/transport_security.h"

namespace headwise {

struct ClientOptions {
  // Of one call with its retries; a stream's too.
  absl::Duration timeout = absl::Minutes(10);
  RetryOptions retry;
  std::string tenant;          // whose sessions are asked for
  TransportSecurity security;  // plaintext unless it is made otherwise
};

// Thread-safe; calls block. Statuses are the server's, or DeadlineExceeded or
// Unavailable of the transport.
class Client {
 public:
  // `target` as gRPC has it, "host:port"; several where one of them leads, with
  // commas. Connects with the first call. With TLS the certificate of each must
  // be for the first one's host, or for --tls-server-name.
  static std::unique_ptr<Client> Connect(const std::string& target,
                                         const ClientOptions& options);
  Client(std::shared_ptr<grpc::Channel> channel, const ClientOptions& options);

  // Calls `on_event` for each message, on this thread; false from it cancels
  // the call, which then returns Cancelled. A stream that breaks off is resumed
  // (answer_resumption.h): `on_event` hears each token and letter once.
  using OnEvent = absl::FunctionRef<bool(const v1::GenerateResponse&)>;
  absl::Status Generate(const v1::GenerateRequest& request, OnEvent on_event);
  absl::Status Chat(const v1::ChatRequest& request, OnEvent on_event);

  // As Generate.
  absl::Status Calibrate(
      const v1::CalibrateRequest& request,
      absl::FunctionRef<bool(const v1::CalibrateResponse&)> on_event);

  absl::StatusOr<v1::ScoreResponse> Score(const v1::ScoreRequest& request);
  absl::StatusOr<v1::EmbedResponse> Embed(const v1::EmbedRequest& request);
  absl::StatusOr<v1::TokenizeResponse> Tokenize(
      const v1::TokenizeRequest& request);
  absl::StatusOr<v1::DetokenizeResponse> Detokenize(
      const v1::DetokenizeRequest& request);
  absl::StatusOr<v1::Model> GetModel(const v1::GetModelRequest& request);
  absl::StatusOr<v1::HeadMap> GetHeadMap(const v1::GetHeadMapRequest& request);
  absl::StatusOr<v1::HeadMap> PlanPlacement(
      const v1::PlanPlacementRequest& request);
  absl::StatusOr<v1::PlanInfo> PutPlan(const v1::PutPlanRequest& request);
  absl::StatusOr<v1::GetPlanResponse> GetPlan(
      const v1::GetPlanRequest& request);
  absl::StatusOr<v1::ListPlansResponse> ListPlans(
      const v1::ListPlansRequest& request);
  absl::StatusOr<v1::DeletePlanResponse> DeletePlan(
      const v1::DeletePlanRequest& request);
  absl::StatusOr<v1::SetDefaultPlanResponse> SetDefaultPlan(
      const v1::SetDefaultPlanRequest& request);
  absl::StatusOr<v1::ForecastPlanResponse> ForecastPlan(
      const v1::ForecastPlanRequest& request);

  // Streams what `next` writes until it says false, while `on_progress` hears
  // on another thread how far the server is; one at a time. Never repeated:
  // after an error GetSession tells how many tokens have run. An error of
  // `next` ends the call and is returned.
  absl::StatusOr<v1::PromptSession> Upload(
      absl::FunctionRef<absl::StatusOr<bool>(v1::UploadRequest*)> next,
      absl::FunctionRef<void(const v1::UploadProgress&)> on_progress);
  absl::StatusOr<v1::PromptSession> GetSession(
      const v1::GetPromptSessionRequest& request);
  absl::StatusOr<v1::ListPromptSessionsResponse> ListSessions(
      const v1::ListPromptSessionsRequest& request);
  absl::StatusOr<v1::DeletePromptSessionResponse> DeleteSession(
      const v1::DeletePromptSessionRequest& request);
  absl::StatusOr<v1::PromptSession> ParkSession(
      const v1::ParkSessionRequest& request);
  absl::StatusOr<v1::PromptSession> ResumeSession(
      const v1::ResumeSessionRequest& request);
  // Parts in order; false from `on_part` ends it.
  absl::Status SnapshotSession(
      const v1::SnapshotPromptSessionRequest& request,
      absl::FunctionRef<bool(const v1::PromptSnapshotPart&)> on_part);
  // Of the parts that `next` makes until it says false. Never repeated.
  absl::StatusOr<v1::PromptSession> RestoreSession(
      absl::FunctionRef<absl::StatusOr<bool>(v1::PromptSnapshotPart*)> next);

 private:
  const ClientOptions options_;
  const std::unique_ptr<v1::Inference::Stub> inference_;
  const std::unique_ptr<v1::Admin::Stub> admin_;
  const std::unique_ptr<v1::Calibration::Stub> calibration_;
  const std::unique_ptr<v1::Plans::Stub> plans_;
  const std::unique_ptr<v1::Sessions::Stub> sessions_;
};

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CPP_CLIENT_H_
