// headwise.v1.Inference: parse, submit, reply.

#ifndef HEADWISE_SERVER_FRONTENDS_INFERENCE_SERVICE_H_
#define HEADWISE_SERVER_FRONTENDS_INFERENCE_SERVICE_H_

#include <functional>
#include <memory>

#include "headwise/v1/inference.grpc.pb.h"
#include "server/frontends/answer_book.h"
#include "server/frontends/frontend_context.h"
#include "server/frontends/generation_sink.h"
#include "server/frontends/prompt_sessions.h"
#include "server/frontends/request_parser.h"
#include "server/frontends/response_stream.h"
#include "server/frontends/text_thread.h"
#include "server/frontends/unary_call.h"

namespace headwise {

// Methods run on gRPC's threads and never wait; long texts are made tokens on a
// thread of their own. Thread-safe.
class InferenceService final : public v1::Inference::CallbackService {
 public:
  InferenceService(const FrontendContext& frontend, PromptSessions& sessions)
      : frontend_(frontend), sessions_(sessions), answers_(frontend.clock) {}

  // Work that nobody reads any more stops at once: the server ends.
  void StopLingering() { answers_.StopLingering(); }

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
  // A client's leaving calls the function that is passed.
  using SetCancel = std::function<void(std::function<void()> cancel)>;
  using GenerationStream = std::shared_ptr<ResponseStream>;

  RequestTerms Terms() const;
  static std::string ShortName(const StoredPlan& plan);
  // Of refusals before any work; a caller's plain mistakes are not admission's.
  void RecordRejection(const absl::Status& status, bool by_engine);
  absl::StatusOr<GenerationCall> ParseGenerate(
      const v1::GenerateRequest& request, const std::string& tenant);
  // Parts of methods that run once the request is parsed; gRPC keeps request
  // and response until the call has been finished.
  void StartGeneration(Arrival arrival, const AnswerKey& key,
                       absl::StatusOr<GenerationCall> call,
                       const GenerationStream& stream);
  // True if the answer under the key is another call's work, which `stream` now
  // hears, or the call has ended. If not, `*writer` is where this call's work
  // is to go.
  bool HearsAnother(const Arrival& arrival, const AnswerKey& key,
                    const GenerationCall& call, const GenerationStream& stream,
                    std::shared_ptr<KeyedAnswer>* writer);
  void RunGeneration(const Arrival& arrival, GenerationCall call,
                     TextStream text,
                     const std::shared_ptr<AnswerWriter>& writer,
                     const SetCancel& set_cancel);
  template <typename Request, typename Parse>
  grpc::ServerWriteReactor<v1::GenerateResponse>* TakeGeneration(
      const char* api, grpc::CallbackServerContext* context,
      const Request* request, Parse parse);
  void StartScore(Arrival arrival, absl::StatusOr<ScoreCall> call,
                  UnaryCall* reactor, v1::ScoreResponse* response);
  void StartEmbed(Arrival arrival, absl::StatusOr<EmbedCall> call,
                  UnaryCall* reactor, v1::EmbedResponse* response);
  // Submits, and cancels the work when the client leaves.
  absl::Status Submit(const Arrival& arrival, EngineRequest request,
                      std::shared_ptr<RequestSink> sink,
                      const SetCancel& set_cancel);
  // For calls that need no engine.
  void Reply(const Arrival& arrival, const absl::Status& status,
             grpc::ServerUnaryReactor* reactor);

  const FrontendContext frontend_;
  PromptSessions& sessions_;
  AnswerBook answers_;
  TextThread texts_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_INFERENCE_SERVICE_H_
