#include "model/files/model_limits.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"

namespace headwise {

namespace {

absl::Status CheckCount(absl::string_view name, int64_t value, int64_t limit) {
  if (value >= 1 && value <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " is ", value, ", outside the limits 1 to ", limit));
}

// Written so that NaN fails.
absl::Status CheckReal(absl::string_view name, double value, double lowest,
                       double highest) {
  if (value >= lowest && value <= highest) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      name, " is ", value, ", outside the limits ", lowest, " to ", highest));
}

absl::Status ValidateHeads(const Hyperparameters& hyper) {
  HEADWISE_RETURN_IF_ERROR(
      CheckCount("head count", hyper.num_heads, kMaxHeads));
  HEADWISE_RETURN_IF_ERROR(
      CheckCount("kv head count", hyper.num_kv_heads, kMaxHeads));
  if (hyper.num_heads % hyper.num_kv_heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("kv head count ", hyper.num_kv_heads,
                     " does not divide head count ", hyper.num_heads));
  }
  HEADWISE_RETURN_IF_ERROR(
      CheckCount("head dimension", hyper.head_dim, kMaxHeadDim));
  if (hyper.head_dim % kHeadDimMultiple != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("head dimension ", hyper.head_dim,
                     " is not a multiple of ", kHeadDimMultiple));
  }
  return absl::OkStatus();
}

absl::Status ValidateYarn(const RopeScaling& scaling) {
  HEADWISE_RETURN_IF_ERROR(
      CheckReal("YaRN beta_fast", scaling.beta_fast, 1e-6, 1e6));
  HEADWISE_RETURN_IF_ERROR(
      CheckReal("YaRN beta_slow", scaling.beta_slow, 1e-6, 1e6));
  return CheckReal("YaRN attention factor", scaling.attention_factor, 0, 1e3);
}

absl::Status ValidateLlama3(const RopeScaling& scaling) {
  HEADWISE_RETURN_IF_ERROR(
      CheckReal("RoPE low_freq_factor", scaling.low_freq_factor, 1e-6, 1e6));
  HEADWISE_RETURN_IF_ERROR(
      CheckReal("RoPE high_freq_factor", scaling.high_freq_factor, 1e-6, 1e6));
  if (scaling.low_freq_factor >= scaling.high_freq_factor) {
    return absl::InvalidArgumentError(absl::StrCat(
        "RoPE low_freq_factor ", scaling.low_freq_factor,
        " is not below high_freq_factor ", scaling.high_freq_factor));
  }
  return absl::OkStatus();
}

absl::Status ValidateScaling(const RopeScaling& scaling) {
  if (scaling.kind == RopeScalingKind::kNone) return absl::OkStatus();
  HEADWISE_RETURN_IF_ERROR(CheckReal("RoPE scaling factor", scaling.factor,
                                     1 / kMaxRopeFactor, kMaxRopeFactor));
  if (scaling.kind == RopeScalingKind::kLinear) return absl::OkStatus();
  HEADWISE_RETURN_IF_ERROR(CheckCount("RoPE scaling original context length",
                                      scaling.original_context_len,
                                      kMaxContextLen));
  return scaling.kind == RopeScalingKind::kYarn ? ValidateYarn(scaling)
                                                : ValidateLlama3(scaling);
}

absl::Status ValidateRope(const Rope& rope, int64_t head_dim) {
  // YaRN divides by the base's logarithm, so 1 is too low as well.
  HEADWISE_RETURN_IF_ERROR(
      CheckReal("RoPE base", rope.base, 1.001, kMaxRopeBase));
  HEADWISE_RETURN_IF_ERROR(
      CheckCount("RoPE dimension count", rope.rotary_dim, head_dim));
  if (rope.rotary_dim % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("RoPE dimension count ", rope.rotary_dim, " is odd"));
  }
  const size_t num_pairs = static_cast<size_t>(rope.rotary_dim / 2);
  const std::vector<double>& divisors = rope.frequency_divisors;
  if (!divisors.empty() && divisors.size() != num_pairs) {
    return absl::InvalidArgumentError(absl::StrCat("RoPE has ", divisors.size(),
                                                   " frequency divisors for ",
                                                   num_pairs, " pairs"));
  }
  for (size_t i = 0; i < divisors.size(); ++i) {
    HEADWISE_RETURN_IF_ERROR(
        CheckReal(absl::StrCat("RoPE frequency divisor ", i), divisors[i],
                  1 / kMaxRopeFactor, kMaxRopeFactor));
  }
  return ValidateScaling(rope.scaling);
}

}  // namespace

absl::Status CheckTokenBytes(int64_t id, size_t num_bytes) {
  if (num_bytes <= kMaxTokenBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("token ", id, " has ", num_bytes, " bytes; the limit is ",
                   kMaxTokenBytes));
}

absl::StatusOr<float> CheckedNormEpsilon(double epsilon) {
  HEADWISE_RETURN_IF_ERROR(CheckReal("norm epsilon", epsilon, 1e-30, 0.1));
  return static_cast<float>(epsilon);
}

absl::Status ValidateHyperparameters(const Hyperparameters& hyper) {
  HEADWISE_RETURN_IF_ERROR(
      CheckCount("layer count", hyper.num_layers, kMaxLayers));
  HEADWISE_RETURN_IF_ERROR(ValidateHeads(hyper));
  HEADWISE_RETURN_IF_ERROR(
      CheckCount("model dimension", hyper.model_dim, kMaxModelDim));
  HEADWISE_RETURN_IF_ERROR(
      CheckCount("feed-forward dimension", hyper.ffn_dim, kMaxFfnDim));
  HEADWISE_RETURN_IF_ERROR(
      CheckCount("vocabulary size", hyper.vocab_size, kMaxVocab));
  HEADWISE_RETURN_IF_ERROR(
      CheckCount("context length", hyper.max_context_len, kMaxContextLen));
  HEADWISE_RETURN_IF_ERROR(CheckedNormEpsilon(hyper.norm_epsilon).status());
  return ValidateRope(hyper.rope, hyper.head_dim);
}

}  // namespace headwise
