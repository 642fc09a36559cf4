#include "server/frontends/inference_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/frontends/embed_sink.h"
#include "server/frontends/response_stream.h"
#include "server/frontends/response_writer.h"
#include "server/frontends/rich_status.h"
#include "server/frontends/score_sink.h"
#include "server/frontends/unary_call.h"

namespace headwise {
namespace {

// Refusals before any work; a caller's plain mistakes are not admission's.
void RecordRejection(const absl::Status& status, bool by_engine,
                     ServerMetrics& metrics) {
  switch (status.code()) {
    case absl::StatusCode::kOutOfRange:
      metrics.RecordRejection(by_engine ? Rejection::kMemoryEver
                                        : Rejection::kSize);
      return;
    case absl::StatusCode::kResourceExhausted:
      metrics.RecordRejection(Rejection::kMemoryNow);
      return;
    case absl::StatusCode::kUnavailable:
      metrics.RecordRejection(Rejection::kUnavailable);
      return;
    default:
      return;
  }
}

}  // namespace

template <typename Reactor>
absl::Status InferenceService::Submit(const Arrival& arrival,
                                      EngineRequest request,
                                      std::shared_ptr<RequestSink> sink,
                                      Reactor* reactor) {
  request.request_id = arrival.request_id;
  request.deadline = arrival.deadline;
  sink = frontend_.open_calls.Count(std::move(sink));
  const absl::StatusOr<uint64_t> id =
      sink == nullptr
          ? DrainingError()
          : frontend_.engine.Submit(std::move(request), std::move(sink));
  if (!id.ok()) {
    RecordRejection(id.status(), /*by_engine=*/true, frontend_.metrics);
    return id.status();
  }
  // The reactor lives at least until the method returns.
  reactor->SetCancel(
      [&engine = frontend_.engine, id = *id] { engine.Cancel(id); });
  return absl::OkStatus();
}

grpc::ServerWriteReactor<v1::GenerateResponse>*
InferenceService::StartGeneration(const Arrival& arrival,
                                  absl::StatusOr<GenerationCall> call) {
  std::shared_ptr<ResponseStream> stream = ResponseStream::Create();
  GenerationSinkOptions options = {.frontend = frontend_, .arrival = arrival};
  absl::StatusOr<TextStream> text =
      call.ok() ? TextStream::Create(std::move(call->stop))
                : absl::StatusOr<TextStream>(call.status());
  if (!text.ok()) {
    RecordRejection(text.status(), /*by_engine=*/false, frontend_.metrics);
    EndCall(frontend_, arrival, stream->Close(text.status()));
    return stream.get();
  }
  options.prompt_tokens = static_cast<int64_t>(call->engine.prompt.size());
  options.stop_tokens = call->engine.stop_tokens;
  options.logprobs = call->logprobs;
  auto sink =
      std::make_shared<GenerationSink>(options, *std::move(text), stream);
  const absl::Status submitted =
      Submit(arrival, std::move(call->engine), std::move(sink), stream.get());
  if (!submitted.ok()) EndCall(frontend_, arrival, stream->Close(submitted));
  return stream.get();
}

grpc::ServerWriteReactor<v1::GenerateResponse>* InferenceService::Generate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request) {
  return StartGeneration(
      Arrive(frontend_, "generate", *context),
      ParseGenerateRequest(*request, frontend_.model,
                           frontend_.cluster.head_map()->max_context_len));
}

grpc::ServerWriteReactor<v1::GenerateResponse>* InferenceService::Chat(
    grpc::CallbackServerContext* context, const v1::ChatRequest* request) {
  return StartGeneration(
      Arrive(frontend_, "chat", *context),
      ParseChatRequest(*request, frontend_.model,
                       frontend_.cluster.head_map()->max_context_len));
}

grpc::ServerUnaryReactor* InferenceService::Score(
    grpc::CallbackServerContext* context, const v1::ScoreRequest* request,
    v1::ScoreResponse* response) {
  const Arrival arrival = Arrive(frontend_, "score", *context);
  auto* reactor = new UnaryCall();
  absl::StatusOr<ScoreCall> call = ParseScoreRequest(*request, frontend_.model);
  if (!call.ok()) {
    RecordRejection(call.status(), /*by_engine=*/false, frontend_.metrics);
    Reply(arrival, call.status(), reactor);
    return reactor;
  }
  const int64_t num_tokens = static_cast<int64_t>(call->engine.prompt.size());
  auto sink = std::make_shared<ScoreSink>(
      num_tokens, call->engine.hash_logits,
      [this, arrival, reactor, response](absl::StatusOr<ScoreResult> result,
                                         const RequestUsage& usage) {
        if (result.ok()) WriteScore(*result, usage, response);
        EndCall(frontend_, arrival, result.status(), &usage,
                result.ok() ? result->num_tokens : 0);
        reactor->Finish(ToGrpcStatus(result.status()));
      });
  const absl::Status submitted =
      Submit(arrival, std::move(call->engine), std::move(sink), reactor);
  if (!submitted.ok()) Reply(arrival, submitted, reactor);
  return reactor;
}

grpc::ServerUnaryReactor* InferenceService::Embed(
    grpc::CallbackServerContext* context, const v1::EmbedRequest* request,
    v1::EmbedResponse* response) {
  const Arrival arrival = Arrive(frontend_, "embed", *context);
  auto* reactor = new UnaryCall();
  absl::StatusOr<EmbedCall> call = ParseEmbedRequest(*request, frontend_.model);
  if (!call.ok()) {
    RecordRejection(call.status(), /*by_engine=*/false, frontend_.metrics);
    Reply(arrival, call.status(), reactor);
    return reactor;
  }
  EmbedSinkOptions options;
  options.num_tokens = static_cast<int64_t>(call->engine.prompt.size());
  options.model_dim = frontend_.model.model->hyperparameters().model_dim;
  options.pool_last = call->pool_last;
  options.normalize = call->normalize;
  auto sink = std::make_shared<EmbedSink>(
      options, [this, arrival, reactor, response](
                   absl::StatusOr<std::vector<float>> result,
                   const RequestUsage& usage) {
        if (result.ok()) {
          response->mutable_embedding()->Assign(result->begin(), result->end());
          WriteUsage(usage, response->mutable_usage());
        }
        EndCall(frontend_, arrival, result.status(), &usage);
        reactor->Finish(ToGrpcStatus(result.status()));
      });
  const absl::Status submitted =
      Submit(arrival, std::move(call->engine), std::move(sink), reactor);
  if (!submitted.ok()) Reply(arrival, submitted, reactor);
  return reactor;
}

void InferenceService::Reply(const Arrival& arrival, const absl::Status& status,
                             grpc::ServerUnaryReactor* reactor) {
  EndCall(frontend_, arrival, status);
  reactor->Finish(ToGrpcStatus(status));
}

grpc::ServerUnaryReactor* InferenceService::Tokenize(
    grpc::CallbackServerContext* context, const v1::TokenizeRequest* request,
    v1::TokenizeResponse* response) {
  const Arrival arrival = Arrive(frontend_, "tokenize", *context);
  absl::Status status = CheckModelName(request->model(), frontend_.model);
  if (status.ok()) {
    status =
        CheckTextBytes("text", static_cast<int64_t>(request->text().size()));
  }
  if (status.ok()) {
    const std::vector<int32_t> ids = frontend_.model.tokenizer->Encode(
        request->text(), {.add_special = request->add_special(),
                          .parse_special = !request->no_parse_special()});
    response->mutable_ids()->Assign(ids.begin(), ids.end());
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  Reply(arrival, status, reactor);
  return reactor;
}

grpc::ServerUnaryReactor* InferenceService::Detokenize(
    grpc::CallbackServerContext* context, const v1::DetokenizeRequest* request,
    v1::DetokenizeResponse* response) {
  const Arrival arrival = Arrive(frontend_, "detokenize", *context);
  const Tokenizer& tokenizer = *frontend_.model.tokenizer;
  const absl::Span<const int32_t> ids(request->ids().data(),
                                      static_cast<size_t>(request->ids_size()));
  absl::Status status = CheckModelName(request->model(), frontend_.model);
  if (status.ok()) status = CheckTokenIds("ids", ids, tokenizer.vocab_size());
  if (status.ok()) {
    response->set_text(tokenizer.Decode(ids, request->skip_special()));
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  Reply(arrival, status, reactor);
  return reactor;
}

grpc::ServerUnaryReactor* InferenceService::GetModel(
    grpc::CallbackServerContext* context, const v1::GetModelRequest* request,
    v1::Model* response) {
  const Arrival arrival = Arrive(frontend_, "get_model", *context);
  const absl::Status status = CheckModelName(request->model(), frontend_.model);
  // Once: each call of DefaultReactor makes it anew.
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (status.ok()) {
    WriteModel(frontend_.model, frontend_.cluster.head_map()->max_context_len,
               response);
  }
  if (!status.ok() || !request->with_sha256()) {
    Reply(arrival, status, reactor);
    return reactor;
  }
  digest_.Get([this, arrival, reactor, response](const std::string& sha256) {
    response->set_sha256(sha256);
    Reply(arrival, absl::OkStatus(), reactor);
  });
  return reactor;
}

}  // namespace headwise
