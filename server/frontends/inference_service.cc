#include "server/frontends/inference_service.h"

#include <utility>

#include "base/error_facts.h"
#include "base/status_macros.h"
#include "server/frontends/attention_wire.h"
#include "server/frontends/embed_sink.h"
#include "server/frontends/plan_cost.h"
#include "server/frontends/response_writer.h"
#include "server/frontends/rich_status.h"
#include "server/frontends/score_sink.h"

namespace headwise {
namespace {

template <typename Request>
int64_t TextBytes(const Request& request) {
  return static_cast<int64_t>(request.text().size());
}

// Not the call itself, which may be over and gone by then.
auto CancelSetter(UnaryCall* reactor) {
  return [hook = reactor->cancel_hook()](std::function<void()> cancel) {
    hook->Set(std::move(cancel));
  };
}

}  // namespace

// For the log.
std::string InferenceService::ShortName(const StoredPlan& plan) {
  return plan.plan == nullptr ? "" : plan.hash.substr(0, kMinPlanPrefix);
}

void InferenceService::RecordRejection(const absl::Status& status,
                                       bool by_engine) {
  ServerMetrics& metrics = frontend_.metrics;
  switch (status.code()) {
    case absl::StatusCode::kOutOfRange:
      metrics.RecordRejection(by_engine ? Rejection::kMemoryEver
                                        : Rejection::kSize);
      return;
    case absl::StatusCode::kResourceExhausted: {
      const std::string reason = FactsOf(status).reason;
      metrics.RecordRejection(reason == "TENANT_QUOTA" ? Rejection::kQuota
                              : reason == "QUEUE_TOO_LONG"
                                  ? Rejection::kDeadline
                                  : Rejection::kMemoryNow);
      return;
    }
    case absl::StatusCode::kDeadlineExceeded:
      metrics.RecordRejection(Rejection::kDeadline);
      return;
    case absl::StatusCode::kUnavailable:
      metrics.RecordRejection(Rejection::kUnavailable);
      return;
    default:
      return;
  }
}

RequestTerms InferenceService::Terms() const {
  return {.model = frontend_.model,
          .plans = frontend_.plans,
          .map = frontend_.cluster.head_map()};
}

absl::Status InferenceService::Submit(const Arrival& arrival,
                                      EngineRequest request,
                                      std::shared_ptr<RequestSink> sink,
                                      const SetCancel& set_cancel) {
  request.request_id = arrival.request_id;
  request.tenant = arrival.tenant;
  request.deadline = arrival.deadline;
  sink = frontend_.open_calls.Count(std::move(sink));
  const absl::StatusOr<uint64_t> id =
      sink == nullptr
          ? DrainingError()
          : frontend_.engine.Submit(std::move(request), std::move(sink));
  if (!id.ok()) {
    RecordRejection(id.status(), /*by_engine=*/true);
    return id.status();
  }
  set_cancel([&engine = frontend_.engine, id = *id] { engine.Cancel(id); });
  return absl::OkStatus();
}

void InferenceService::StartScore(Arrival arrival,
                                  absl::StatusOr<ScoreCall> call,
                                  UnaryCall* reactor,
                                  v1::ScoreResponse* response) {
  if (!call.ok()) {
    RecordRejection(call.status(), /*by_engine=*/false);
    Reply(arrival, call.status(), reactor);
    return;
  }
  arrival.plan = ShortName(call->plan);
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
  const absl::Status submitted = Submit(arrival, std::move(call->engine),
                                        std::move(sink), CancelSetter(reactor));
  if (!submitted.ok()) Reply(arrival, submitted, reactor);
}

grpc::ServerUnaryReactor* InferenceService::Score(
    grpc::CallbackServerContext* context, const v1::ScoreRequest* request,
    v1::ScoreResponse* response) {
  const Arrival arrival = Arrive(frontend_, "score", *context);
  auto* reactor = new UnaryCall();
  absl::Status taken = TenantOf(*context).status();
  if (taken.ok()) {
    taken = texts_.Run(
        TextBytes(*request), [this, arrival, request, reactor, response] {
          StartScore(arrival, ParseScoreRequest(*request, Terms()), reactor,
                     response);
        });
  }
  if (!taken.ok()) StartScore(arrival, taken, reactor, response);
  return reactor;
}

void InferenceService::StartEmbed(Arrival arrival,
                                  absl::StatusOr<EmbedCall> call,
                                  UnaryCall* reactor,
                                  v1::EmbedResponse* response) {
  if (!call.ok()) {
    RecordRejection(call.status(), /*by_engine=*/false);
    Reply(arrival, call.status(), reactor);
    return;
  }
  arrival.plan = ShortName(call->plan);
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
  const absl::Status submitted = Submit(arrival, std::move(call->engine),
                                        std::move(sink), CancelSetter(reactor));
  if (!submitted.ok()) Reply(arrival, submitted, reactor);
}

grpc::ServerUnaryReactor* InferenceService::Embed(
    grpc::CallbackServerContext* context, const v1::EmbedRequest* request,
    v1::EmbedResponse* response) {
  const Arrival arrival = Arrive(frontend_, "embed", *context);
  auto* reactor = new UnaryCall();
  absl::Status taken = TenantOf(*context).status();
  if (taken.ok()) {
    taken = texts_.Run(
        TextBytes(*request), [this, arrival, request, reactor, response] {
          StartEmbed(arrival, ParseEmbedRequest(*request, Terms()), reactor,
                     response);
        });
  }
  if (!taken.ok()) StartEmbed(arrival, taken, reactor, response);
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
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  absl::Status status = CheckModelName(request->model(), frontend_.model);
  if (status.ok()) status = CheckTextBytes("text", TextBytes(*request));
  if (status.ok()) {
    status = texts_.Run(
        TextBytes(*request), [this, arrival, request, reactor, response] {
          const std::vector<int32_t> ids = frontend_.model.tokenizer->Encode(
              request->text(), {.add_special = request->add_special(),
                                .parse_special = !request->no_parse_special()});
          response->mutable_ids()->Assign(ids.begin(), ids.end());
          Reply(arrival, absl::OkStatus(), reactor);
        });
  }
  if (!status.ok()) Reply(arrival, status, reactor);
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
    WriteModel(frontend_.model,
               ServedContextLen(frontend_.plans.Default(), frontend_.model,
                                *frontend_.cluster.head_map()),
               response);
  }
  if (!status.ok() || !request->with_sha256()) {
    Reply(arrival, status, reactor);
    return reactor;
  }
  frontend_.digest.Get(
      [this, arrival, reactor, response](const std::string& sha256) {
        response->set_sha256(sha256);
        Reply(arrival, absl::OkStatus(), reactor);
      });
  return reactor;
}

}  // namespace headwise
