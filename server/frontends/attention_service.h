// headwise.v1.Attention over AttentionSessions.

#ifndef HEADWISE_SERVER_FRONTENDS_ATTENTION_SERVICE_H_
#define HEADWISE_SERVER_FRONTENDS_ATTENTION_SERVICE_H_

#include "grpcpp/support/server_callback.h"
#include "headwise/v1/attention.grpc.pb.h"
#include "server/attention/attention_sessions.h"
#include "server/frontends/frontend_context.h"
#include "server/frontends/pooled_calls.h"

namespace headwise {

// Callbacks run on gRPC threads and never block; calls wait for workers on a
// pool of kNumThreads.
class AttentionService final : public v1::Attention::CallbackService {
 public:
  // `sessions` must outlive the server that the service belongs to.
  AttentionService(const FrontendContext& frontend, AttentionSessions& sessions)
      : sessions_(sessions), calls_(frontend, kNumThreads) {}

  grpc::ServerUnaryReactor* Open(grpc::CallbackServerContext* context,
                                 const v1::OpenSessionRequest* request,
                                 v1::AttentionSession* response) override;
  grpc::ServerReadReactor<v1::AppendRequest>* Append(
      grpc::CallbackServerContext* context,
      v1::AppendResponse* response) override;
  grpc::ServerUnaryReactor* Attend(grpc::CallbackServerContext* context,
                                   const v1::AttendRequest* request,
                                   v1::AttendResponse* response) override;
  grpc::ServerUnaryReactor* Fork(grpc::CallbackServerContext* context,
                                 const v1::ForkSessionRequest* request,
                                 v1::AttentionSession* response) override;
  grpc::ServerWriteReactor<v1::SnapshotPart>* Snapshot(
      grpc::CallbackServerContext* context,
      const v1::SnapshotRequest* request) override;
  grpc::ServerReadReactor<v1::SnapshotPart>* Restore(
      grpc::CallbackServerContext* context,
      v1::AttentionSession* response) override;
  grpc::ServerUnaryReactor* GetSession(grpc::CallbackServerContext* context,
                                       const v1::GetSessionRequest* request,
                                       v1::AttentionSession* response) override;
  grpc::ServerUnaryReactor* ListSessions(
      grpc::CallbackServerContext* context,
      const v1::ListSessionsRequest* request,
      v1::ListSessionsResponse* response) override;
  grpc::ServerUnaryReactor* Delete(
      grpc::CallbackServerContext* context,
      const v1::DeleteSessionRequest* request,
      v1::DeleteSessionResponse* response) override;

  static constexpr int kNumThreads = 8;

 private:
  AttentionSessions& sessions_;
  PooledCalls calls_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_ATTENTION_SERVICE_H_
