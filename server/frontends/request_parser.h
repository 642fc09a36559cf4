// Requests of headwise.v1.Inference to what the engine takes: every field is
// checked here, and protobuf stops here.

#ifndef HEADWISE_SERVER_FRONTENDS_REQUEST_PARSER_H_
#define HEADWISE_SERVER_FRONTENDS_REQUEST_PARSER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "headwise/v1/inference.pb.h"
#include "server/frontends/served_model.h"
#include "server/scheduler/engine.h"

namespace headwise {

inline constexpr int kMaxTopLogprobs = 20;
inline constexpr int kMaxChatMessages = 1024;
// A text is made tokens on one of gRPC's few threads, where heartbeats and all
// streams wait meanwhile; this much takes under a second.
inline constexpr int64_t kMaxTextBytes = 4 << 20;
// Beyond these, probabilities are flat to fp32's precision.
inline constexpr float kMaxTemperature = 100.0f;
inline constexpr float kMaxRepetitionPenalty = 100.0f;

// A generation as the engine and the reply need it.
struct GenerationCall {
  EngineRequest engine;
  std::vector<std::string> stop;  // within the limits of TextStream
  bool logprobs = false;          // report them in the stream
};

struct ScoreCall {
  EngineRequest engine;
};

struct EmbedCall {
  EngineRequest engine;
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

// `served_context_len`: longest sequence that the cluster can hold now, or 0 if
// unknown. NotFound: another model. InvalidArgument: a field out of its limits.
// OutOfRange: the prompt is longer than the model's context, or its text than
// kMaxTextBytes. FailedPrecondition: a chat without a template, or with one
// that uses what we don't have.
absl::StatusOr<GenerationCall> ParseGenerateRequest(
    const v1::GenerateRequest& request, const ServedModel& model,
    int64_t served_context_len);
absl::StatusOr<GenerationCall> ParseChatRequest(const v1::ChatRequest& request,
                                                const ServedModel& model,
                                                int64_t served_context_len);
absl::StatusOr<ScoreCall> ParseScoreRequest(const v1::ScoreRequest& request,
                                            const ServedModel& model);
absl::StatusOr<EmbedCall> ParseEmbedRequest(const v1::EmbedRequest& request,
                                            const ServedModel& model);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_REQUEST_PARSER_H_
