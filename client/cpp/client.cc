#include "client/cpp/client.h"

#include <thread>
#include <utility>

#include "client/cpp/answer_resumption.h"
#include "client/cpp/client_call.h"

namespace headwise {

std::unique_ptr<Client> Client::Connect(const std::string& target,
                                        const ClientOptions& options) {
  return std::make_unique<Client>(MakeClientChannel(target, options.security),
                                  OptionsFor(target, options));
}

Client::Client(std::shared_ptr<grpc::Channel> channel,
               const ClientOptions& options)
    : options_(options),
      inference_(v1::Inference::NewStub(channel)),
      admin_(v1::Admin::NewStub(channel)),
      calibration_(v1::Calibration::NewStub(channel)),
      plans_(v1::Plans::NewStub(channel)),
      sessions_(v1::Sessions::NewStub(channel)) {}

absl::Status Client::Generate(const v1::GenerateRequest& request,
                              OnEvent on_event) {
  return CallUntilWhole(
      options_, request,
      [&](grpc::ClientContext* context, const v1::GenerateRequest& rest) {
        return inference_->Generate(context, rest);
      },
      on_event);
}

absl::Status Client::Chat(const v1::ChatRequest& request, OnEvent on_event) {
  return CallUntilWhole(
      options_, request,
      [&](grpc::ClientContext* context, const v1::ChatRequest& rest) {
        return inference_->Chat(context, rest);
      },
      on_event);
}

absl::Status Client::Calibrate(
    const v1::CalibrateRequest& request,
    absl::FunctionRef<bool(const v1::CalibrateResponse&)> on_event) {
  return CallStream<v1::CalibrateResponse>(
      options_,
      [&](grpc::ClientContext* context) {
        return calibration_->Calibrate(context, request);
      },
      on_event);
}

absl::StatusOr<v1::ScoreResponse> Client::Score(
    const v1::ScoreRequest& request) {
  return CallUnary<v1::ScoreResponse>(
      options_, [&](grpc::ClientContext* context, v1::ScoreResponse* response) {
        return inference_->Score(context, request, response);
      });
}

absl::StatusOr<v1::EmbedResponse> Client::Embed(
    const v1::EmbedRequest& request) {
  return CallUnary<v1::EmbedResponse>(
      options_, [&](grpc::ClientContext* context, v1::EmbedResponse* response) {
        return inference_->Embed(context, request, response);
      });
}

absl::StatusOr<v1::TokenizeResponse> Client::Tokenize(
    const v1::TokenizeRequest& request) {
  return CallUnary<v1::TokenizeResponse>(
      options_,
      [&](grpc::ClientContext* context, v1::TokenizeResponse* response) {
        return inference_->Tokenize(context, request, response);
      });
}

absl::StatusOr<v1::DetokenizeResponse> Client::Detokenize(
    const v1::DetokenizeRequest& request) {
  return CallUnary<v1::DetokenizeResponse>(
      options_,
      [&](grpc::ClientContext* context, v1::DetokenizeResponse* response) {
        return inference_->Detokenize(context, request, response);
      });
}

absl::StatusOr<v1::Model> Client::GetModel(const v1::GetModelRequest& request) {
  return CallUnary<v1::Model>(
      options_, [&](grpc::ClientContext* context, v1::Model* response) {
        return inference_->GetModel(context, request, response);
      });
}

absl::StatusOr<v1::HeadMap> Client::GetHeadMap(
    const v1::GetHeadMapRequest& request) {
  return CallUnary<v1::HeadMap>(
      options_, [&](grpc::ClientContext* context, v1::HeadMap* response) {
        return admin_->GetHeadMap(context, request, response);
      });
}

absl::StatusOr<v1::HeadMap> Client::PlanPlacement(
    const v1::PlanPlacementRequest& request) {
  return CallUnary<v1::HeadMap>(
      options_, [&](grpc::ClientContext* context, v1::HeadMap* response) {
        return admin_->PlanPlacement(context, request, response);
      });
}

absl::StatusOr<v1::PlanInfo> Client::PutPlan(
    const v1::PutPlanRequest& request) {
  return CallUnary<v1::PlanInfo>(
      options_, [&](grpc::ClientContext* context, v1::PlanInfo* response) {
        return plans_->PutPlan(context, request, response);
      });
}

absl::StatusOr<v1::GetPlanResponse> Client::GetPlan(
    const v1::GetPlanRequest& request) {
  return CallUnary<v1::GetPlanResponse>(
      options_,
      [&](grpc::ClientContext* context, v1::GetPlanResponse* response) {
        return plans_->GetPlan(context, request, response);
      });
}

absl::StatusOr<v1::ListPlansResponse> Client::ListPlans(
    const v1::ListPlansRequest& request) {
  return CallUnary<v1::ListPlansResponse>(
      options_,
      [&](grpc::ClientContext* context, v1::ListPlansResponse* response) {
        return plans_->ListPlans(context, request, response);
      });
}

absl::StatusOr<v1::DeletePlanResponse> Client::DeletePlan(
    const v1::DeletePlanRequest& request) {
  return CallUnary<v1::DeletePlanResponse>(
      options_,
      [&](grpc::ClientContext* context, v1::DeletePlanResponse* response) {
        return plans_->DeletePlan(context, request, response);
      });
}

absl::StatusOr<v1::SetDefaultPlanResponse> Client::SetDefaultPlan(
    const v1::SetDefaultPlanRequest& request) {
  return CallUnary<v1::SetDefaultPlanResponse>(
      options_,
      [&](grpc::ClientContext* context, v1::SetDefaultPlanResponse* response) {
        return plans_->SetDefaultPlan(context, request, response);
      });
}

absl::StatusOr<v1::ForecastPlanResponse> Client::ForecastPlan(
    const v1::ForecastPlanRequest& request) {
  return CallUnary<v1::ForecastPlanResponse>(
      options_,
      [&](grpc::ClientContext* context, v1::ForecastPlanResponse* response) {
        return plans_->ForecastPlan(context, request, response);
      });
}

absl::StatusOr<v1::PromptSession> Client::Upload(
    absl::FunctionRef<absl::StatusOr<bool>(v1::UploadRequest*)> next,
    absl::FunctionRef<void(const v1::UploadProgress&)> on_progress) {
  grpc::ClientContext context;
  PrepareCall(options_, options_.timeout, &context);
  const auto stream = sessions_->Upload(&context);
  v1::UploadProgress last;
  std::thread reader([&] {
    v1::UploadProgress progress;
    while (stream->Read(&progress)) {
      on_progress(progress);
      last.Swap(&progress);
    }
  });
  absl::StatusOr<bool> more = true;
  while (more.ok() && *more) {
    v1::UploadRequest request;
    more = next(&request);
    // Where the server has ended the call, Finish says why.
    if (more.ok() && *more && !stream->Write(request)) break;
  }
  if (more.ok()) {
    stream->WritesDone();
  } else {
    context.TryCancel();
  }
  reader.join();
  const absl::Status status = ToAttempt(stream->Finish()).status;
  if (!more.ok()) return more.status();
  if (!status.ok()) return status;
  return last.session();
}

absl::StatusOr<v1::PromptSession> Client::GetSession(
    const v1::GetPromptSessionRequest& request) {
  return CallUnary<v1::PromptSession>(
      options_, [&](grpc::ClientContext* context, v1::PromptSession* response) {
        return sessions_->GetSession(context, request, response);
      });
}

absl::StatusOr<v1::ListPromptSessionsResponse> Client::ListSessions(
    const v1::ListPromptSessionsRequest& request) {
  return CallUnary<v1::ListPromptSessionsResponse>(
      options_, [&](grpc::ClientContext* context,
                    v1::ListPromptSessionsResponse* response) {
        return sessions_->ListSessions(context, request, response);
      });
}

absl::StatusOr<v1::DeletePromptSessionResponse> Client::DeleteSession(
    const v1::DeletePromptSessionRequest& request) {
  return CallUnary<v1::DeletePromptSessionResponse>(
      options_, [&](grpc::ClientContext* context,
                    v1::DeletePromptSessionResponse* response) {
        return sessions_->Delete(context, request, response);
      });
}

absl::StatusOr<v1::PromptSession> Client::ParkSession(
    const v1::ParkSessionRequest& request) {
  return CallUnary<v1::PromptSession>(
      options_, [&](grpc::ClientContext* context, v1::PromptSession* response) {
        return sessions_->Park(context, request, response);
      });
}

absl::StatusOr<v1::PromptSession> Client::ResumeSession(
    const v1::ResumeSessionRequest& request) {
  return CallUnary<v1::PromptSession>(
      options_, [&](grpc::ClientContext* context, v1::PromptSession* response) {
        return sessions_->Resume(context, request, response);
      });
}

absl::Status Client::SnapshotSession(
    const v1::SnapshotPromptSessionRequest& request,
    absl::FunctionRef<bool(const v1::PromptSnapshotPart&)> on_part) {
  return CallStream<v1::PromptSnapshotPart>(
      options_,
      [&](grpc::ClientContext* context) {
        return sessions_->Snapshot(context, request);
      },
      on_part);
}

absl::StatusOr<v1::PromptSession> Client::RestoreSession(
    absl::FunctionRef<absl::StatusOr<bool>(v1::PromptSnapshotPart*)> next) {
  return CallUpload<v1::PromptSession, v1::PromptSnapshotPart>(
      options_,
      [&](grpc::ClientContext* context, v1::PromptSession* session) {
        return sessions_->Restore(context, session);
      },
      next);
}

}  // namespace headwise
