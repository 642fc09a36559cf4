// headwise.v1.Inference: parse, submit, reply.

#ifndef HEADWISE_SERVER_FRONTENDS_INFERENCE_SERVICE_H_
#define HEADWISE_SERVER_FRONTENDS_INFERENCE_SERVICE_H_

#include <memory>

#include "headwise/v1/inference.grpc.pb.h"
#include "server/frontends/frontend_context.h"
#include "server/frontends/generation_sink.h"
#include "server/frontends/model_digest.h"
#include "server/frontends/request_parser.h"

namespace headwise {

// Methods run on gRPC's threads and never wait. Thread-safe.
class InferenceService final : public v1::Inference::CallbackService {
 public:
  explicit InferenceService(const FrontendContext& frontend)
      : frontend_(frontend), digest_(*frontend.model.model) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* context,
      const v1::GenerateRequest* request) override;
  grpc::ServerWriteReactor<v1::GenerateResponse>* Chat(
      grpc::CallbackServerContext* context,
      const v1::ChatRequest* request) override;
  grpc::ServerUnaryReactor* Score(grpc::CallbackServerContext* context,
                                  const v1::ScoreRequest* request,
                                  v1::ScoreResponse* response) override;
  grpc::ServerUnaryReactor* Embed(grpc::CallbackServerContext* context,
                                  const v1::EmbedRequest* request,
                                  v1::EmbedResponse* response) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override;
  grpc::ServerUnaryReactor* Detokenize(
      grpc::CallbackServerContext* context,
      const v1::DetokenizeRequest* request,
      v1::DetokenizeResponse* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const v1::GetModelRequest* request,
                                     v1::Model* response) override;

 private:
  grpc::ServerWriteReactor<v1::GenerateResponse>* StartGeneration(
      const Arrival& arrival, absl::StatusOr<GenerationCall> call);
  // Submits, and cancels the work when the client leaves.
  template <typename Reactor>
  absl::Status Submit(const Arrival& arrival, EngineRequest request,
                      std::shared_ptr<RequestSink> sink, Reactor* reactor);
  // For calls that need no engine.
  void Reply(const Arrival& arrival, const absl::Status& status,
             grpc::ServerUnaryReactor* reactor);

  const FrontendContext frontend_;
  ModelDigest digest_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_INFERENCE_SERVICE_H_
