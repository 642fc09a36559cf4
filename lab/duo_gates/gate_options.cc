#include "lab/duo_gates/gate_options.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "model/head_plan/head_plan_check.h"
#include "server/calibration/needle_prompt.h"

namespace headwise {
namespace {

template <typename T>
absl::Status CheckRange(const char* name, T value, T min, T max) {
  // Written so that a NaN is outside.
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": ", value, " is outside [", min, ", ", max, "]"));
}

std::string TextHash(const std::string& text) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  return Sha256Hex(Sha256Of(absl::MakeConstSpan(bytes, text.size())));
}

}  // namespace

absl::Status CheckGateOptions(const GateOptions& options,
                              const Hyperparameters& hyper) {
  HEADWISE_RETURN_IF_ERROR(
      CheckRange<int64_t>("steps", options.num_steps, 1, 100000));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange<int64_t>("needles", options.num_needles, 1, 16));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange<int64_t>("words", options.num_words, 1, 32));
  HEADWISE_RETURN_IF_ERROR(CheckUnitPolicy({.kind = PolicyKind::kStreaming,
                                            .num_sinks = options.num_sinks,
                                            .window = options.window}));
  HEADWISE_RETURN_IF_ERROR(CheckRange("l1", options.l1_weight, 0.0, 1000.0));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("learning-rate", options.learning_rate, 1e-9, 1.0));
  HEADWISE_RETURN_IF_ERROR(CheckRange<int64_t>(
      "segment-layers", options.segment_layers, 0, hyper.num_layers));
  // Where a streaming head sees all that a prompt has, nothing is learned.
  const int64_t shortest =
      std::max(kMinPromptLen, options.num_sinks + options.window + 1);
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("length", options.length, shortest, hyper.max_context_len));
  return CheckRange("min-length", options.shortest(), shortest, options.length);
}

nlohmann::ordered_json GateManifest(const GateOptions& options,
                                    const std::string& model_sha256) {
  return {{"model_sha256", model_sha256},
          {"steps", options.num_steps},
          {"length", options.length},
          {"min_length", options.shortest()},
          {"needles", options.num_needles},
          {"words", options.num_words},
          {"sinks", options.num_sinks},
          {"window", options.window},
          {"l1", options.l1_weight},
          {"learning_rate", options.learning_rate},
          {"haystack_sha256",
           options.haystack.empty() ? "" : TextHash(options.haystack)},
          {"seed", options.seed}};
}

}  // namespace headwise
