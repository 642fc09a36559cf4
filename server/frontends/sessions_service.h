// headwise.v1.Sessions: parse, claim, reply.

#ifndef HEADWISE_SERVER_FRONTENDS_SESSIONS_SERVICE_H_
#define HEADWISE_SERVER_FRONTENDS_SESSIONS_SERVICE_H_

#include <functional>
#include <string>

#include "headwise/v1/sessions.grpc.pb.h"
#include "server/frontends/frontend_context.h"
#include "server/frontends/pooled_calls.h"
#include "server/frontends/prompt_sessions.h"
#include "server/frontends/prompt_snapshot.h"
#include "server/frontends/text_thread.h"

namespace headwise {

inline constexpr int kSnapshotThreads = 2;

// Methods run on gRPC's threads and never wait; snapshots on their own. Thread-
// safe.
class SessionsService final : public v1::Sessions::CallbackService {
 public:
  SessionsService(const FrontendContext& frontend, PromptSessions& sessions,
                  int64_t upload_run_tokens)
      : frontend_(frontend),
        sessions_(sessions),
        upload_run_tokens_(upload_run_tokens),
        snapshots_(frontend, kSnapshotThreads) {}

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
  grpc::ServerWriteReactor<v1::PromptSnapshotPart>* Snapshot(
      grpc::CallbackServerContext* context,
      const v1::SnapshotPromptSessionRequest* request) override;
  grpc::ServerReadReactor<v1::PromptSnapshotPart>* Restore(
      grpc::CallbackServerContext* context,
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
  absl::StatusOr<PromptSnapshot> Take(const std::string& tenant,
                                      const std::string& id);

  const int64_t upload_run_tokens_;
  TextThread texts_;
  PooledCalls snapshots_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_SESSIONS_SERVICE_H_
