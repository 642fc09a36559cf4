// headwise.v1.Sessions: parse, claim, reply.

#ifndef HEADWISE_SERVER_FRONTENDS_SESSIONS_SERVICE_H_
#define HEADWISE_SERVER_FRONTENDS_SESSIONS_SERVICE_H_

#include <functional>
#include <string>

#include "headwise/v1/sessions.grpc.pb.h"
#include "server/frontends/frontend_context.h"
#include "server/frontends/prompt_sessions.h"
#include "server/frontends/text_thread.h"

namespace headwise {

// Methods run on gRPC's threads and never wait. Thread-safe.
class SessionsService final : public v1::Sessions::CallbackService {
 public:
  SessionsService(const FrontendContext& frontend, PromptSessions& sessions,
                  int64_t upload_run_tokens)
      : frontend_(frontend),
        sessions_(sessions),
        upload_run_tokens_(upload_run_tokens) {}

  grpc::ServerBidiReactor<v1::UploadRequest, v1::UploadProgress>* Upload(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* GetSession(
      grpc::CallbackServerContext* context,
      const v1::GetPromptSessionRequest* request,
      v1::PromptSession* response) override;
  grpc::ServerUnaryReactor* ListSessions(
      grpc::CallbackServerContext* context,
      const v1::ListPromptSessionsRequest* request,
      v1::ListPromptSessionsResponse* response) override;
  grpc::ServerUnaryReactor* Delete(
      grpc::CallbackServerContext* context,
      const v1::DeletePromptSessionRequest* request,
      v1::DeletePromptSessionResponse* response) override;
  grpc::ServerUnaryReactor* Park(grpc::CallbackServerContext* context,
                                 const v1::ParkSessionRequest* request,
                                 v1::PromptSession* response) override;
  grpc::ServerUnaryReactor* Resume(grpc::CallbackServerContext* context,
                                   const v1::ResumeSessionRequest* request,
                                   v1::PromptSession* response) override;

 private:
  // For calls that need no engine.
  grpc::ServerUnaryReactor* Reply(
      const char* api, grpc::CallbackServerContext* context,
      const std::function<absl::Status(const std::string& tenant)>& work);
  // Parks a session, or resumes it.
  grpc::ServerUnaryReactor* Move(const char* api,
                                 grpc::CallbackServerContext* context,
                                 const std::string& id, bool parks,
                                 v1::PromptSession* response);

  const FrontendContext frontend_;
  PromptSessions& sessions_;
  const int64_t upload_run_tokens_;
  TextThread texts_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_SESSIONS_SERVICE_H_
