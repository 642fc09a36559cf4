#include "model/head_plan/head_plan_check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/head_plan/policy_names.h"
#include "model/tokenizer/utf8.h"

namespace headwise {
namespace {

absl::Status Bad(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", what));
}

absl::Status InRange(const char* field, int64_t value, int64_t min,
                     int64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return Bad(field, absl::StrCat(value, " is outside [", min, ", ", max, "]"));
}

absl::Status InRange(const char* field, float value, float min, float max) {
  // Written so that NaN fails.
  if (value >= min && value <= max) return absl::OkStatus();
  return Bad(field, absl::StrCat(value, " is outside [", min, ", ", max, "]"));
}

absl::Status Unused(const char* field, bool is_default, PolicyKind kind) {
  if (is_default) return absl::OkStatus();
  return Bad(field, absl::StrCat("is set, but policy ", NameOf(kind),
                                 " does not have it"));
}

absl::Status CheckUnused(const UnitPolicy& policy) {
  const PolicyFields fields = FieldsOf(policy.kind);
  const PolicyKind kind = policy.kind;
  if (!fields.window) {
    HEADWISE_RETURN_IF_ERROR(Unused("num_sinks", policy.num_sinks == 0, kind));
    HEADWISE_RETURN_IF_ERROR(Unused("window", policy.window == 0, kind));
  }
  if (!fields.slot_positions) {
    HEADWISE_RETURN_IF_ERROR(
        Unused("slot_positions", !policy.slot_positions, kind));
  }
  if (!fields.compensation) {
    HEADWISE_RETURN_IF_ERROR(Unused("count_weight", policy.count_weight, kind));
    HEADWISE_RETURN_IF_ERROR(Unused("full_prompt", policy.full_prompt, kind));
    HEADWISE_RETURN_IF_ERROR(
        Unused("window_divisor", policy.window_divisor == 0, kind));
  }
  if (fields.chunks) return absl::OkStatus();
  HEADWISE_RETURN_IF_ERROR(Unused("chunk_len", policy.chunk_len == 0, kind));
  HEADWISE_RETURN_IF_ERROR(Unused("num_chunks", policy.num_chunks == 0, kind));
  return Unused("per_query_head", !policy.per_query_head, kind);
}

absl::Status CheckChunks(const UnitPolicy& policy) {
  const int64_t max_len =
      policy.kind == PolicyKind::kQuest ? kPlanChunkMultiple : kMaxPlanChunkLen;
  HEADWISE_RETURN_IF_ERROR(
      InRange("chunk_len", policy.chunk_len, kPlanChunkMultiple, max_len));
  if (policy.chunk_len % kPlanChunkMultiple != 0) {
    return Bad("chunk_len",
               absl::StrCat(policy.chunk_len, " is not a multiple of ",
                            kPlanChunkMultiple));
  }
  return InRange("num_chunks", policy.num_chunks, kMinPlanChunks,
                 kMaxPlanChunks);
}

// Landmarks stand at one distance for all units, and are one token.
absl::Status CheckLandmarkUnits(const HeadPlan& plan) {
  const auto is_landmark = [](const UnitPolicy& unit) {
    return unit.kind == PolicyKind::kLandmark;
  };
  const auto first =
      std::find_if(plan.units.begin(), plan.units.end(), is_landmark);
  HEADWISE_RETURN_IF_ERROR(InRange("landmark_token", plan.landmark_token, -1,
                                   std::numeric_limits<int32_t>::max()));
  if (first == plan.units.end()) {
    if (plan.landmark_token == -1) return absl::OkStatus();
    return Bad("landmark_token", "is set, but no unit has policy landmark");
  }
  for (auto unit = first; unit != plan.units.end(); ++unit) {
    if (!is_landmark(*unit) || unit->chunk_len == first->chunk_len) continue;
    const int64_t at = unit - plan.units.begin();
    return absl::InvalidArgumentError(absl::StrCat(
        "units[", at, "] (layer ", at / plan.num_kv_heads, ", kv_head ",
        at % plan.num_kv_heads, ") chunk_len: ", unit->chunk_len,
        ", but landmarks of units[", first - plan.units.begin(),
        "] stand every ", first->chunk_len, " positions"));
  }
  return absl::OkStatus();
}

absl::Status CheckOrigin(absl::string_view origin) {
  if (origin.size() > kMaxPlanOriginBytes) {
    return Bad("origin", absl::StrCat(origin.size(), " bytes; the limit is ",
                                      kMaxPlanOriginBytes));
  }
  for (size_t at = 0; at < origin.size();) {
    const Utf8Char next = DecodeUtf8(origin.substr(at));
    if (next.state != Utf8State::kValid) {
      return Bad("origin", absl::StrCat("byte ", at, " is not UTF-8"));
    }
    at += static_cast<size_t>(next.size);
  }
  return absl::OkStatus();
}

absl::Status CheckSha256(absl::string_view digits) {
  bool is_good = digits.size() == 64;
  for (const char digit : digits) {
    is_good =
        is_good && absl::ascii_isxdigit(digit) && !absl::ascii_isupper(digit);
  }
  if (is_good) return absl::OkStatus();
  return Bad("model_sha256",
             absl::StrCat("\"", absl::CHexEscape(digits.substr(0, 64)),
                          "\" is not 64 lower-case hexadecimal digits"));
}

absl::Status CheckCount(const char* list, size_t size, int64_t num_layers,
                        int64_t per_layer, const char* what) {
  const int64_t wanted = num_layers * per_layer;
  if (size == static_cast<size_t>(wanted)) return absl::OkStatus();
  return Bad(list, absl::StrCat(size, " entries; ", num_layers, " layers of ",
                                per_layer, " ", what, " are ", wanted));
}

// "units[12] (layer 4, kv_head 0) " in front of the message.
absl::Status At(const absl::Status& status, const char* list, size_t index,
                int64_t per_layer, const char* what) {
  const auto i = static_cast<int64_t>(index);
  return absl::InvalidArgumentError(
      absl::StrCat(list, "[", i, "] (layer ", i / per_layer, ", ", what, " ",
                   i % per_layer, ") ", status.message()));
}

}  // namespace

absl::Status CheckPlanShape(const HeadPlan& plan) {
  HEADWISE_RETURN_IF_ERROR(
      InRange("num_layers", plan.num_layers, 1, kMaxPlanLayers));
  HEADWISE_RETURN_IF_ERROR(
      InRange("num_heads", plan.num_heads, 1, kMaxPlanHeads));
  HEADWISE_RETURN_IF_ERROR(
      InRange("num_kv_heads", plan.num_kv_heads, 1, plan.num_heads));
  if (plan.num_heads % plan.num_kv_heads != 0) {
    return Bad("num_kv_heads",
               absl::StrCat(plan.num_kv_heads, " does not divide ",
                            plan.num_heads, " heads"));
  }
  // No more units than heads, so this bounds both.
  if (plan.num_layers * plan.num_heads <= kMaxPlanEntries) {
    return absl::OkStatus();
  }
  return Bad("num_heads",
             absl::StrCat(plan.num_heads, " in each of ", plan.num_layers,
                          " layers are more than the limit ", kMaxPlanEntries));
}

absl::Status CheckUnitPolicy(const UnitPolicy& policy) {
  if (static_cast<size_t>(policy.kind) >= kPolicyNames.size()) {
    return Bad("policy",
               absl::StrCat(static_cast<int>(policy.kind), " is not known"));
  }
  if (static_cast<size_t>(policy.kv_type) >= kPlanKvTypeNames.size()) {
    return Bad("kv_type",
               absl::StrCat(static_cast<int>(policy.kv_type), " is not known"));
  }
  HEADWISE_RETURN_IF_ERROR(CheckUnused(policy));
  const PolicyFields fields = FieldsOf(policy.kind);
  if (fields.window) {
    HEADWISE_RETURN_IF_ERROR(
        InRange("num_sinks", policy.num_sinks, 0, kMaxPlanSinks));
    HEADWISE_RETURN_IF_ERROR(
        InRange("window", policy.window, 1, kMaxPlanWindow));
  }
  if (fields.compensation) {
    HEADWISE_RETURN_IF_ERROR(InRange("window_divisor", policy.window_divisor, 0,
                                     kMaxPlanWindowDivisor));
    if (policy.window_divisor > 0 && !policy.full_prompt) {
      return Bad("window_divisor",
                 absl::StrCat(policy.window_divisor, " without full_prompt"));
    }
  }
  return fields.chunks ? CheckChunks(policy) : absl::OkStatus();
}

absl::Status CheckQueryHeadPlan(const QueryHeadPlan& head) {
  if (static_cast<size_t>(head.mask) >= kHeadMaskNames.size()) {
    return Bad("mask",
               absl::StrCat(static_cast<int>(head.mask), " is not known"));
  }
  HEADWISE_RETURN_IF_ERROR(InRange("output_scale", head.output_scale,
                                   -kMaxPlanOutputScale, kMaxPlanOutputScale));
  HEADWISE_RETURN_IF_ERROR(InRange("sink_beta", head.sink_beta, 0.0f, 1.0f));
  if (head.sink_beta == 1.0f) {
    if (head.sink_threshold == 0.0f) return absl::OkStatus();
    return Bad("sink_threshold", "is set, but sink_beta 1 does not have it");
  }
  if (head.sink_threshold > 0.0f && head.sink_threshold <= 1.0f) {
    return absl::OkStatus();
  }
  return Bad("sink_threshold",
             absl::StrCat(head.sink_threshold, " is outside (0, 1]"));
}

absl::Status CheckHeadPlan(const HeadPlan& plan) {
  HEADWISE_RETURN_IF_ERROR(CheckSha256(plan.model_sha256));
  HEADWISE_RETURN_IF_ERROR(CheckOrigin(plan.origin));
  HEADWISE_RETURN_IF_ERROR(CheckPlanShape(plan));
  HEADWISE_RETURN_IF_ERROR(CheckCount("units", plan.units.size(),
                                      plan.num_layers, plan.num_kv_heads,
                                      "kv heads"));
  HEADWISE_RETURN_IF_ERROR(CheckCount(
      "heads", plan.heads.size(), plan.num_layers, plan.num_heads, "heads"));
  for (size_t i = 0; i < plan.units.size(); ++i) {
    const absl::Status status = CheckUnitPolicy(plan.units[i]);
    if (!status.ok()) {
      return At(status, "units", i, plan.num_kv_heads, "kv_head");
    }
  }
  for (size_t i = 0; i < plan.heads.size(); ++i) {
    const absl::Status status = CheckQueryHeadPlan(plan.heads[i]);
    if (!status.ok()) return At(status, "heads", i, plan.num_heads, "head");
  }
  return CheckLandmarkUnits(plan);
}

absl::Status CheckPlanFits(const HeadPlan& plan, const Hyperparameters& hyper,
                           absl::string_view model_sha256) {
  HEADWISE_RETURN_IF_ERROR(CheckHeadPlan(plan));
  if (hyper.titans) {
    return absl::UnimplementedError(
        "head plans of titans models: their attention has its own window");
  }
  if (plan.model_sha256 != model_sha256) {
    return absl::InvalidArgumentError(
        absl::StrCat("model_sha256: the plan is for model ", plan.model_sha256,
                     ", this is ", model_sha256));
  }
  const std::pair<const char*, std::pair<int64_t, int64_t>> sizes[] = {
      {"num_layers", {plan.num_layers, hyper.num_layers}},
      {"num_heads", {plan.num_heads, hyper.num_heads}},
      {"num_kv_heads", {plan.num_kv_heads, hyper.num_kv_heads}}};
  for (const auto& [field, values] : sizes) {
    if (values.first == values.second) continue;
    return Bad(field, absl::StrCat("the plan has ", values.first,
                                   ", the model ", values.second));
  }
  if (plan.landmark_token >= hyper.vocab_size && plan.landmark_token != -1) {
    return Bad("landmark_token", absl::StrCat(plan.landmark_token,
                                              ", the model's vocabulary has ",
                                              hyper.vocab_size, " tokens"));
  }
  return absl::OkStatus();
}

UnitPolicy DefaultUnitPolicy(const Hyperparameters& hyper) {
  UnitPolicy unit;
  if (!hyper.titans) return unit;
  unit.kind = PolicyKind::kStreaming;
  // Without attention nothing is stored, whatever the window.
  unit.window = std::max<int64_t>(hyper.titans->window, 1);
  return unit;
}

HeadPlan FullHeadPlan(int64_t num_layers, int64_t num_heads,
                      int64_t num_kv_heads) {
  HeadPlan plan;
  plan.num_layers = num_layers;
  plan.num_heads = num_heads;
  plan.num_kv_heads = num_kv_heads;
  plan.units.resize(static_cast<size_t>(num_layers * num_kv_heads));
  plan.heads.resize(static_cast<size_t>(num_layers * num_heads));
  return plan;
}

HeadPlan DefaultHeadPlan(const Hyperparameters& hyper,
                         std::string model_sha256) {
  HeadPlan plan =
      FullHeadPlan(hyper.num_layers, hyper.num_heads, hyper.num_kv_heads);
  plan.model_sha256 = std::move(model_sha256);
  std::fill(plan.units.begin(), plan.units.end(), DefaultUnitPolicy(hyper));
  return plan;
}

}  // namespace headwise
