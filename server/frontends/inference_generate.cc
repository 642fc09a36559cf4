// The half of InferenceService that generates.

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/frontends/attention_wire.h"
#include "server/frontends/inference_service.h"

namespace headwise {
namespace {

int64_t TextBytes(const v1::ChatRequest& request) {
  int64_t bytes = 0;
  for (const v1::ChatMessage& message : request.messages()) {
    bytes += static_cast<int64_t>(message.content().size());
  }
  return bytes;
}

int64_t TextBytes(const v1::GenerateRequest& request) {
  return static_cast<int64_t>(request.text().size());
}

// Of a call whose answer the client has but for its end.
RequestUsage UsageOfReceived(const EngineRequest& request) {
  RequestUsage usage;
  usage.prompt_tokens = static_cast<int64_t>(request.prompt.size());
  usage.received_tokens = static_cast<int64_t>(request.received.size());
  usage.generated_tokens = usage.received_tokens;
  return usage;
}

// Of what the answer depends on, but for what of it has come.
template <typename Request>
std::string FingerprintOf(const char* api, const Request& request) {
  Request whole = request;
  whole.clear_received();
  whole.clear_numerics();
  whole.clear_priority();
  const std::string bytes = absl::StrCat(api, " ", whole.SerializeAsString());
  return Sha256Hex(Sha256Of(absl::MakeConstSpan(
      reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size())));
}

}  // namespace

absl::StatusOr<GenerationCall> InferenceService::ParseGenerate(
    const v1::GenerateRequest& request, const std::string& tenant) {
  if (request.session_id().empty()) {
    return ParseGenerateRequest(request, Terms());
  }
  HEADWISE_ASSIGN_OR_RETURN(const PromptSession session,
                            sessions_.Use(tenant, request.session_id()));
  RequestTerms terms = Terms();
  terms.session = &session;
  HEADWISE_ASSIGN_OR_RETURN(GenerationCall call,
                            ParseGenerateRequest(request, terms));
  call.session_id = session.id;
  return call;
}

bool InferenceService::HearsAnother(const Arrival& arrival,
                                    const AnswerKey& key,
                                    const GenerationCall& call,
                                    const GenerationStream& stream,
                                    std::shared_ptr<KeyedAnswer>* writer) {
  const auto on_end = [this, arrival](const absl::Status& status) {
    EndCall(frontend_, arrival, status);
  };
  const std::vector<int32_t>& received = call.engine.received;
  const absl::StatusOr<AnswerBook::Begun> begun = answers_.Begin(key, received);
  if (!begun.ok()) {
    on_end(stream->Close(begun.status()));
    return true;
  }
  if (begun->answer == nullptr) return false;
  KeyedAnswer::Reader reader = {
      .stream = stream, .num_received = static_cast<int64_t>(received.size())};
  if (!begun->is_first) reader.on_end = on_end;
  if (begun->answer->Join(std::move(reader)) != KeyedAnswer::Joined::kYes) {
    return false;
  }
  if (begun->is_first) *writer = begun->answer;
  return !begun->is_first;
}

void InferenceService::StartGeneration(Arrival arrival, const AnswerKey& key,
                                       absl::StatusOr<GenerationCall> call,
                                       const GenerationStream& stream) {
  absl::StatusOr<TextStream> text =
      call.ok() ? TextStream::Create(std::move(call->stop))
                : absl::StatusOr<TextStream>(call.status());
  if (!text.ok()) {
    RecordRejection(text.status(), /*by_engine=*/false);
    EndCall(frontend_, arrival, stream->Close(text.status()));
    return;
  }
  arrival.plan = ShortName(call->plan);
  std::shared_ptr<KeyedAnswer> keyed;
  if (!key.key.empty() && HearsAnother(arrival, key, *call, stream, &keyed)) {
    return;
  }
  if (keyed == nullptr) {
    RunGeneration(arrival, *std::move(call), *std::move(text), stream,
                  [&](std::function<void()> cancel) {
                    stream->SetCancel(std::move(cancel));
                  });
  } else {
    RunGeneration(arrival, *std::move(call), *std::move(text), keyed,
                  [&](std::function<void()> cancel) {
                    keyed->SetCancel(std::move(cancel));
                  });
  }
}

void InferenceService::RunGeneration(
    const Arrival& arrival, GenerationCall call, TextStream text,
    const std::shared_ptr<AnswerWriter>& writer, const SetCancel& set_cancel) {
  GenerationSinkOptions options = {.frontend = frontend_, .arrival = arrival};
  options.prompt_tokens = static_cast<int64_t>(call.engine.prompt.size());
  options.max_new_tokens = call.engine.max_new_tokens;
  options.stop_tokens = call.engine.stop_tokens;
  options.logprobs = call.logprobs;
  options.is_batch = call.engine.is_background;
  auto sink =
      std::make_shared<GenerationSink>(options, std::move(text), writer);
  const absl::StatusOr<bool> is_whole = sink->Skip(call.engine.received);
  if (!is_whole.ok()) {
    EndCall(frontend_, arrival, writer->Close(is_whole.status()));
    return;
  }
  if (*is_whole) {
    sink->OnFinished(absl::OkStatus(), UsageOfReceived(call.engine));
    return;
  }
  absl::Status submitted =
      Submit(arrival, std::move(call.engine), std::move(sink), set_cancel);
  if (absl::IsNotFound(submitted) && !call.session_id.empty()) {
    submitted = sessions_.Forget(call.session_id);
  }
  if (!submitted.ok()) EndCall(frontend_, arrival, writer->Close(submitted));
}

template <typename Request, typename Parse>
grpc::ServerWriteReactor<v1::GenerateResponse>*
InferenceService::TakeGeneration(const char* api,
                                 grpc::CallbackServerContext* context,
                                 const Request* request, Parse parse) {
  const Arrival arrival = Arrive(frontend_, api, *context);
  const GenerationStream stream = ResponseStream::Create();
  absl::Status taken = TenantOf(*context).status();
  const absl::StatusOr<std::string> key = IdempotencyKeyOf(*context);
  if (taken.ok()) taken = key.status();
  if (taken.ok()) {
    taken = texts_.Run(
        TextBytes(*request), [this, arrival, key, request, stream, parse] {
          AnswerKey id = {arrival.tenant, *key};
          if (!key->empty()) {
            id.fingerprint = FingerprintOf(arrival.api, *request);
          }
          StartGeneration(arrival, id, parse(arrival.tenant), stream);
        });
  }
  if (!taken.ok()) StartGeneration(arrival, {}, taken, stream);
  return stream.get();
}

grpc::ServerWriteReactor<v1::GenerateResponse>* InferenceService::Generate(
    grpc::CallbackServerContext* context, const v1::GenerateRequest* request) {
  return TakeGeneration("generate", context, request,
                        [this, request](const std::string& tenant) {
                          return ParseGenerate(*request, tenant);
                        });
}

grpc::ServerWriteReactor<v1::GenerateResponse>* InferenceService::Chat(
    grpc::CallbackServerContext* context, const v1::ChatRequest* request) {
  return TakeGeneration("chat", context, request,
                        [this, request](const std::string&) {
                          return ParseChatRequest(*request, Terms());
                        });
}

}  // namespace headwise
