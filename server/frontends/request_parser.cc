#include "server/frontends/request_parser.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/error_facts.h"
#include "base/status_macros.h"
#include "model/tokenizer/text_stream.h"
#include "server/frontends/chat_text.h"
#include "server/frontends/numerics_check.h"
#include "server/frontends/plan_cost.h"
#include "server/frontends/rich_status.h"

namespace headwise {
namespace {

// A request that names no limit of its own may run to the end of the context;
// where a plan sets none, for `by_default` tokens: memory is set aside for all.
int64_t NewTokensWithin(int64_t wanted, int64_t prompt_len, int64_t context_len,
                        int64_t by_default) {
  const int64_t room = std::max<int64_t>(1, context_len - prompt_len);
  return std::min(wanted == 0 ? by_default : wanted, room);
}

absl::Status CheckPromptLength(int64_t prompt_len, int64_t max_prompt_len,
                               const StoredPlan& plan,
                               const ServedModel& model) {
  if (prompt_len <= max_prompt_len) return absl::OkStatus();
  const std::string under =
      plan.plan == nullptr
          ? ""
          : absl::StrCat(" under plan ", plan.hash.substr(0, kMinPlanPrefix));
  return WithFacts(
      absl::OutOfRangeError(absl::StrCat(
          "the prompt has ", prompt_len, " tokens; at most ", max_prompt_len,
          " fit into the context of ", model.name, under, " (max_context_len ",
          model.model->hyperparameters().max_context_len, ")")),
      {.reason = "CONTEXT_TOO_LONG",
       .numbers = {{"prompt_tokens", prompt_len},
                   {"max_prompt_tokens", max_prompt_len}}});
}

// `source` has either a text or token ids, under the oneof's names.
template <typename Request>
absl::StatusOr<std::vector<int32_t>> ParsePrompt(const Request& request,
                                                 const ServedModel& model,
                                                 bool add_special) {
  if (request.has_text()) {
    if (request.text().empty()) {
      return InvalidField("text", "is empty; at least one byte is needed");
    }
    HEADWISE_RETURN_IF_ERROR(
        CheckTextBytes("text", static_cast<int64_t>(request.text().size())));
    std::vector<int32_t> ids = model.tokenizer->Encode(
        request.text(), {.add_special = add_special, .parse_special = true});
    if (ids.empty()) return InvalidField("text", "holds no token");
    return ids;
  }
  if (!request.has_tokens()) {
    return InvalidField("text", "neither text nor tokens is set");
  }
  const auto& ids = request.tokens().ids();
  if (ids.empty()) {
    return InvalidField("tokens.ids", "is empty; at least one id is needed");
  }
  HEADWISE_RETURN_IF_ERROR(
      CheckTokenIds("tokens.ids", {ids.data(), static_cast<size_t>(ids.size())},
                    model.tokenizer->vocab_size()));
  return std::vector<int32_t>(ids.begin(), ids.end());
}

absl::Status CheckFloat(absl::string_view field, float value, float min,
                        float max) {
  // Written so that NaN fails.
  if (value >= min && value <= max) return absl::OkStatus();
  return InvalidField(
      field, absl::StrCat("is ", value, "; must be from ", min, " to ", max));
}

absl::Status CheckInt(absl::string_view field, int64_t value, int64_t min,
                      int64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return InvalidField(
      field, absl::StrCat("is ", value, "; must be from ", min, " to ", max));
}

absl::StatusOr<SamplingOptions> ParseSampling(
    const v1::SamplingOptions& options) {
  HEADWISE_RETURN_IF_ERROR(CheckFloat("options.sampling.temperature",
                                      options.temperature(), 0,
                                      kMaxTemperature));
  HEADWISE_RETURN_IF_ERROR(
      CheckInt("options.sampling.top_k", options.top_k(), 0, INT32_MAX));
  HEADWISE_RETURN_IF_ERROR(
      CheckFloat("options.sampling.top_p", options.top_p(), 0, 1));
  HEADWISE_RETURN_IF_ERROR(CheckFloat("options.sampling.min_p", options.min_p(),
                                      0, std::nextafter(1.0f, 0.0f)));
  HEADWISE_RETURN_IF_ERROR(CheckFloat("options.sampling.repetition_penalty",
                                      options.repetition_penalty(), 0,
                                      kMaxRepetitionPenalty));
  SamplingOptions sampling;
  sampling.temperature = options.temperature();
  sampling.top_k = options.top_k();
  if (options.top_p() > 0) sampling.top_p = options.top_p();
  sampling.min_p = options.min_p();
  if (options.repetition_penalty() > 0) {
    sampling.repetition_penalty = options.repetition_penalty();
  }
  sampling.seed = options.seed();
  return sampling;
}

absl::StatusOr<std::vector<std::string>> ParseStop(
    const google::protobuf::RepeatedPtrField<std::string>& stop) {
  if (stop.size() > TextStream::kMaxStopStrings) {
    return InvalidField(
        "options.stop",
        absl::StrCat("has ", stop.size(), " strings; at most ",
                     TextStream::kMaxStopStrings, " are allowed"));
  }
  for (int i = 0; i < stop.size(); ++i) {
    const int64_t bytes = static_cast<int64_t>(stop[i].size());
    if (bytes >= 1 && bytes <= TextStream::kMaxStopStringBytes) continue;
    return InvalidField(absl::StrCat("options.stop[", i, "]"),
                        absl::StrCat("has ", bytes, " bytes; must have 1 to ",
                                     TextStream::kMaxStopStringBytes));
  }
  return std::vector<std::string>(stop.begin(), stop.end());
}

// An enum's field may have any number.
absl::Status SetPriority(int priority, EngineRequest* request) {
  HEADWISE_RETURN_IF_ERROR(CheckInt("priority", priority, 0, v1::Priority_MAX));
  request->is_background = priority == v1::PRIORITY_BATCH;
  return absl::OkStatus();
}

// Everything of a generation but its prompt.
template <typename Request>
absl::StatusOr<GenerationCall> ParseOptions(const Request& request,
                                            const RequestTerms& terms) {
  const v1::GenerationOptions& options = request.options();
  const std::string& plan = request.plan();
  GenerationCall call;
  HEADWISE_RETURN_IF_ERROR(SetPriority(request.priority(), &call.engine));
  if (terms.session != nullptr && plan.empty()) {
    call.plan = terms.session->plan;
  } else {
    HEADWISE_ASSIGN_OR_RETURN(call.plan, terms.plans.Find(plan));
  }
  if (terms.session != nullptr) {
    call.engine.fork_from = terms.session->prefix_id;
  }
  HEADWISE_RETURN_IF_ERROR(CheckInt("options.max_tokens", options.max_tokens(),
                                    0, call.plan.longest_context_len));
  HEADWISE_RETURN_IF_ERROR(CheckInt(
      "options.top_logprobs", options.top_logprobs(), 0, kMaxTopLogprobs));
  HEADWISE_ASSIGN_OR_RETURN(call.engine.sampling,
                            ParseSampling(options.sampling()));
  HEADWISE_ASSIGN_OR_RETURN(call.stop, ParseStop(options.stop()));
  call.logprobs = options.logprobs() || options.top_logprobs() > 0;
  call.engine.kind = WorkKind::kGenerate;
  call.engine.plan = call.plan.plan;
  call.engine.sampling.logprobs = call.logprobs;
  call.engine.sampling.top_logprobs = options.top_logprobs();
  call.engine.max_new_tokens = options.max_tokens();
  if (!options.ignore_eos()) {
    call.engine.stop_tokens = terms.model.end_tokens;
  }
  return call;
}

absl::Status SetPrompt(std::vector<int32_t> prompt, const RequestTerms& terms,
                       GenerationCall* call) {
  const int64_t longest = call->plan.longest_context_len;
  const int64_t prompt_len =
      static_cast<int64_t>(prompt.size()) +
      (terms.session == nullptr ? 0 : terms.session->num_tokens);
  // At least one new token needs room.
  HEADWISE_RETURN_IF_ERROR(
      CheckPromptLength(prompt_len, longest - 1, call->plan, terms.model));
  const int64_t served = ServedContextLen(call->plan, terms.model, *terms.map);
  const int64_t context_len = served > 0 ? std::min(served, longest) : longest;
  call->engine.max_new_tokens =
      NewTokensWithin(call->engine.max_new_tokens, prompt_len, context_len,
                      terms.model.model->hyperparameters().max_context_len);
  call->engine.prompt = std::move(prompt);
  return absl::OkStatus();
}

// To be called after SetPrompt. Where the tokens are the whole answer, the call
// is not for the engine: StartGeneration ends it.
template <typename Request>
absl::Status SetReceived(const Request& request, const RequestTerms& terms,
                         GenerationCall* call) {
  const auto& ids = request.received().ids();
  const v1::GenerationOptions& options = request.options();
  if (!ids.empty() && request.numerics() != 0) {
    HEADWISE_RETURN_IF_ERROR(CheckNumerics("`received`", request.numerics()));
  }
  HEADWISE_RETURN_IF_ERROR(CheckTokenIds(
      "received.ids", {ids.data(), static_cast<size_t>(ids.size())},
      terms.model.tokenizer->vocab_size()));
  const int64_t limit = options.max_tokens() > 0 ? options.max_tokens()
                                                 : call->engine.max_new_tokens;
  if (ids.size() > limit) {
    return InvalidField("received.ids",
                        absl::StrCat("has ", ids.size(),
                                     " ids; the answer has at most ", limit));
  }
  call->engine.received.assign(ids.begin(), ids.end());
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckTextBytes(absl::string_view field, int64_t num_bytes) {
  if (num_bytes <= kMaxTextBytes) return absl::OkStatus();
  return WithFacts(
      absl::OutOfRangeError(
          absl::StrCat(field, ": ", num_bytes, " bytes of text; at most ",
                       kMaxTextBytes, " are made tokens in one request")),
      {.reason = "TEXT_TOO_LONG",
       .numbers = {{"bytes", num_bytes}, {"max_bytes", kMaxTextBytes}}});
}

absl::Status CheckModelName(absl::string_view requested,
                            const ServedModel& model) {
  if (requested.empty() || requested == model.name) return absl::OkStatus();
  const std::string name(requested.substr(0, 256));
  return WithFacts(
      absl::NotFoundError(absl::StrCat(
          "model: \"", name, "\" is not served here; the served model is \"",
          model.name, "\"")),
      {.resource_type = "model", .resource_name = name});
}

absl::Status CheckTokenIds(absl::string_view field,
                           absl::Span<const int32_t> ids, int64_t vocab_size) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < vocab_size) continue;
    return InvalidField(
        absl::StrCat(field, "[", i, "]"),
        absl::StrCat("is ", ids[i], "; must be from 0 to ", vocab_size - 1));
  }
  return absl::OkStatus();
}

absl::StatusOr<GenerationCall> ParseGenerateRequest(
    const v1::GenerateRequest& request, const RequestTerms& terms) {
  HEADWISE_RETURN_IF_ERROR(CheckModelName(request.model(), terms.model));
  HEADWISE_ASSIGN_OR_RETURN(GenerationCall call, ParseOptions(request, terms));
  HEADWISE_ASSIGN_OR_RETURN(
      std::vector<int32_t> prompt,
      ParsePrompt(request, terms.model,
                  /*add_special=*/terms.session == nullptr));
  HEADWISE_RETURN_IF_ERROR(SetPrompt(std::move(prompt), terms, &call));
  HEADWISE_RETURN_IF_ERROR(SetReceived(request, terms, &call));
  return call;
}

absl::StatusOr<GenerationCall> ParseChatRequest(const v1::ChatRequest& request,
                                                const RequestTerms& terms) {
  const ServedModel& model = terms.model;
  HEADWISE_RETURN_IF_ERROR(CheckModelName(request.model(), model));
  HEADWISE_RETURN_IF_ERROR(CheckMessages(request.messages()));
  HEADWISE_ASSIGN_OR_RETURN(GenerationCall call, ParseOptions(request, terms));
  if (model.chat_template == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(
        "model ", model.name, " has no chat template; use Generate"));
  }
  HEADWISE_ASSIGN_OR_RETURN(const std::string text,
                            RenderMessages(request.messages(), model));
  // The template has written bos itself, where it wants one.
  std::vector<int32_t> prompt = model.tokenizer->Encode(
      text, {.add_special = false, .parse_special = true});
  if (prompt.empty()) {
    return InvalidField("messages", "render to no token");
  }
  HEADWISE_RETURN_IF_ERROR(SetPrompt(std::move(prompt), terms, &call));
  HEADWISE_RETURN_IF_ERROR(SetReceived(request, terms, &call));
  return call;
}

absl::StatusOr<ScoreCall> ParseScoreRequest(const v1::ScoreRequest& request,
                                            const RequestTerms& terms) {
  HEADWISE_RETURN_IF_ERROR(CheckModelName(request.model(), terms.model));
  if (request.max_tokens() != 0) {
    HEADWISE_RETURN_IF_ERROR(
        CheckInt("max_tokens", request.max_tokens(), 2, INT64_MAX));
  }
  ScoreCall call;
  HEADWISE_RETURN_IF_ERROR(SetPriority(request.priority(), &call.engine));
  HEADWISE_ASSIGN_OR_RETURN(call.plan, terms.plans.Find(request.plan()));
  HEADWISE_ASSIGN_OR_RETURN(
      call.engine.prompt,
      ParsePrompt(request, terms.model, /*add_special=*/false));
  if (request.max_tokens() != 0 &&
      request.max_tokens() < static_cast<int64_t>(call.engine.prompt.size())) {
    call.engine.prompt.resize(request.max_tokens());
  }
  const int64_t num_tokens = static_cast<int64_t>(call.engine.prompt.size());
  if (num_tokens < 2) {
    return InvalidField(request.has_text() ? "text" : "tokens.ids",
                        "holds 1 token; a score needs at least 2");
  }
  HEADWISE_RETURN_IF_ERROR(CheckPromptLength(
      num_tokens, call.plan.longest_context_len, call.plan, terms.model));
  call.engine.kind = WorkKind::kScore;
  call.engine.plan = call.plan.plan;
  call.engine.hash_logits = !request.omit_logits_hash();
  return call;
}

absl::StatusOr<EmbedCall> ParseEmbedRequest(const v1::EmbedRequest& request,
                                            const RequestTerms& terms) {
  HEADWISE_RETURN_IF_ERROR(CheckModelName(request.model(), terms.model));
  EmbedCall call;
  HEADWISE_RETURN_IF_ERROR(SetPriority(request.priority(), &call.engine));
  switch (request.pooling()) {
    case v1::POOLING_UNSPECIFIED:
    case v1::POOLING_MEAN:
      break;
    case v1::POOLING_LAST:
      call.pool_last = true;
      break;
    default:
      return InvalidField("pooling", absl::StrCat("is ", request.pooling(),
                                                  "; must be MEAN or LAST"));
  }
  HEADWISE_ASSIGN_OR_RETURN(call.plan, terms.plans.Find(request.plan()));
  HEADWISE_ASSIGN_OR_RETURN(
      call.engine.prompt,
      ParsePrompt(request, terms.model, /*add_special=*/true));
  HEADWISE_RETURN_IF_ERROR(
      CheckPromptLength(static_cast<int64_t>(call.engine.prompt.size()),
                        call.plan.longest_context_len, call.plan, terms.model));
  call.engine.kind = WorkKind::kEmbed;
  call.engine.plan = call.plan.plan;
  call.normalize = request.normalize();
  return call;
}

}  // namespace headwise
