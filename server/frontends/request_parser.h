// Requests of headwise.v1.Inference to what the engine takes: every field is
// checked here, and protobuf stops here.

#ifndef HEADWISE_SERVER_FRONTENDS_REQUEST_PARSER_H_
#define HEADWISE_SERVER_FRONTENDS_REQUEST_PARSER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "headwise/v1/inference.pb.h"
#include "server/frontends/head_map.h"
#include "server/frontends/plan_store.h"
#include "server/frontends/prompt_sessions.h"
#include "server/frontends/served_model.h"
#include "server/scheduler/engine.h"

namespace headwise {

inline constexpr int kMaxTopLogprobs = 20;
inline constexpr int kMaxChatMessages = 1024;
// As much as a message may have: some four million tokens of English.
inline constexpr int64_t kMaxTextBytes = 16 << 20;
// Beyond these, probabilities are flat to fp32's precision.
inline constexpr float kMaxTemperature = 100.0f;
inline constexpr float kMaxRepetitionPenalty = 100.0f;

// What a request is read against.
struct RequestTerms {
  const ServedModel& model;
  const PlanStore& plans;
  std::shared_ptr<const HeadMap> map;      // of the group that stands now
  const PromptSession* session = nullptr;  // that the request begins with
};

// A generation as the engine and the reply need it. `plan` of each call is
// the one that it runs under.
struct GenerationCall {
  EngineRequest engine;
  StoredPlan plan;
  std::string session_id;         // that it begins with; empty: none
  std::vector<std::string> stop;  // within the limits of TextStream
  bool logprobs = false;          // report them in the stream
};

struct ScoreCall {
  EngineRequest engine;
  StoredPlan plan;
};

struct EmbedCall {
  EngineRequest engine;
  StoredPlan plan;
  bool pool_last = false;  // else mean
  bool normalize = false;
};

// NotFound unless `requested` is empty or the served model's name.
absl::Status CheckModelName(absl::string_view requested,
                            const ServedModel& model);

// OutOfRange above kMaxTextBytes. `field` is named by the error.
absl::Status CheckTextBytes(absl::string_view field, int64_t num_bytes);

// Every id must be in the vocabulary. `field` is named by the error.
absl::Status CheckTokenIds(absl::string_view field,
                           absl::Span<const int32_t> ids, int64_t vocab_size);

// NotFound: another model, or no such plan. InvalidArgument: a field out of its
// limits. OutOfRange: the prompt is longer than the context that its plan
// allows, or its text than kMaxTextBytes. FailedPrecondition: a chat without a
// template, or with one that uses what we don't have. Take about a second for 4
// MiB of text.
absl::StatusOr<GenerationCall> ParseGenerateRequest(
    const v1::GenerateRequest& request, const RequestTerms& terms);
absl::StatusOr<GenerationCall> ParseChatRequest(const v1::ChatRequest& request,
                                                const RequestTerms& terms);
absl::StatusOr<ScoreCall> ParseScoreRequest(const v1::ScoreRequest& request,
                                            const RequestTerms& terms);
absl::StatusOr<EmbedCall> ParseEmbedRequest(const v1::EmbedRequest& request,
                                            const RequestTerms& terms);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_REQUEST_PARSER_H_
