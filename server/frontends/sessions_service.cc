#include "server/frontends/sessions_service.h"

#include <memory>
#include <utility>

#include "base/status_macros.h"
#include "server/frontends/attention_wire.h"
#include "server/frontends/rich_status.h"
#include "server/frontends/upload_stream.h"

namespace headwise {
namespace {

using State = PromptSession::State;

class EndSink final : public RequestSink {
 public:
  explicit EndSink(std::function<void(const absl::Status&)> on_end)
      : on_end_(std::move(on_end)) {}
  void OnFinished(const absl::Status& status, const RequestUsage&) override {
    on_end_(status);
  }

 private:
  const std::function<void(const absl::Status&)> on_end_;
};

}  // namespace

void WritePromptSession(const PromptSession& session, absl::Time now,
                        v1::PromptSession* out) {
  out->set_session_id(session.id);
  out->set_num_tokens(session.num_tokens);
  out->set_plan(session.plan.hash);
  out->set_state(session.state == PromptSession::State::kReady
                     ? v1::PROMPT_SESSION_STATE_READY
                 : session.state == PromptSession::State::kBusy
                     ? v1::PROMPT_SESSION_STATE_BUSY
                     : v1::PROMPT_SESSION_STATE_PARKED);
  out->set_idle_seconds(absl::ToDoubleSeconds(now - session.last_use));
}

grpc::ServerBidiReactor<v1::UploadRequest, v1::UploadProgress>*
SessionsService::Upload(grpc::CallbackServerContext* context) {
  return UploadStream::Start({frontend_, sessions_, texts_, upload_run_tokens_},
                             Arrive(frontend_, "session_upload", *context),
                             TenantOf(*context).status());
}

grpc::ServerUnaryReactor* SessionsService::Reply(
    const char* api, grpc::CallbackServerContext* context,
    const std::function<absl::Status(const std::string& tenant)>& work) {
  const Arrival arrival = Arrive(frontend_, api, *context);
  const absl::StatusOr<std::string> tenant = TenantOf(*context);
  const absl::Status status = tenant.ok() ? work(*tenant) : tenant.status();
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  EndCall(frontend_, arrival, status);
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

grpc::ServerUnaryReactor* SessionsService::GetSession(
    grpc::CallbackServerContext* context,
    const v1::GetPromptSessionRequest* request, v1::PromptSession* response) {
  return Reply("session_get", context, [&](const std::string& tenant) {
    const auto session = sessions_.Get(tenant, request->session_id());
    if (!session.ok()) return session.status();
    WritePromptSession(*session, sessions_.Now(), response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* SessionsService::ListSessions(
    grpc::CallbackServerContext* context, const v1::ListPromptSessionsRequest*,
    v1::ListPromptSessionsResponse* response) {
  return Reply("session_list", context, [&](const std::string& tenant) {
    for (const PromptSession& session : sessions_.List(tenant)) {
      WritePromptSession(session, sessions_.Now(), response->add_sessions());
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* SessionsService::Delete(
    grpc::CallbackServerContext* context,
    const v1::DeletePromptSessionRequest* request,
    v1::DeletePromptSessionResponse*) {
  return Reply("session_delete", context, [&](const std::string& tenant) {
    return sessions_.Delete(tenant, request->session_id());
  });
}

grpc::ServerUnaryReactor* SessionsService::Park(
    grpc::CallbackServerContext* context, const v1::ParkSessionRequest* request,
    v1::PromptSession* response) {
  return Move("session_park", context, request->session_id(), /*parks=*/true,
              response);
}

grpc::ServerUnaryReactor* SessionsService::Resume(
    grpc::CallbackServerContext* context,
    const v1::ResumeSessionRequest* request, v1::PromptSession* response) {
  return Move("session_resume", context, request->session_id(),
              /*parks=*/false, response);
}

grpc::ServerUnaryReactor* SessionsService::Move(
    const char* api, grpc::CallbackServerContext* context,
    const std::string& id, bool parks, v1::PromptSession* response) {
  const Arrival arrival = Arrive(frontend_, api, *context);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto finish = [this, arrival, reactor](const absl::Status& status) {
    EndCall(frontend_, arrival, status);
    reactor->Finish(ToGrpcStatus(status));
  };
  const State before = parks ? State::kReady : State::kParked;
  const State after = parks ? State::kParked : State::kReady;
  const auto start = [&]() -> absl::Status {
    HEADWISE_ASSIGN_OR_RETURN(const std::string tenant, TenantOf(*context));
    HEADWISE_ASSIGN_OR_RETURN(PromptSession session,
                              sessions_.Claim(tenant, id, before));
    std::shared_ptr<RequestSink> sink = frontend_.open_calls.Count(
        std::make_shared<EndSink>([this, session, before, after, response,
                                   finish](const absl::Status& status) mutable {
          session.state = status.ok() ? after : before;
          session.last_use = sessions_.Now();
          sessions_.Return(session);
          if (status.ok()) {
            WritePromptSession(session, session.last_use, response);
          }
          finish(status);
        }));
    absl::Status started = DrainingError();
    if (sink != nullptr) {
      Engine& engine = frontend_.engine;
      started = (parks ? engine.Park(session.prefix_id, std::move(sink))
                       : engine.Unpark(session.prefix_id, std::move(sink)))
                    .status();
    }
    if (started.ok()) return started;
    session.state = before;
    sessions_.Return(session);
    if (!absl::IsNotFound(started)) return started;
    return sessions_.Forget(session.id);
  };
  const absl::Status started = start();
  if (!started.ok()) finish(started);
  return reactor;
}

}  // namespace headwise
