// What is refused before it can touch a memory.

#include <cmath>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/neural_memory/memory_head.h"

namespace headwise {
namespace {

absl::Status CheckRange(absl::string_view field, int64_t value, int64_t least,
                        int64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " = ", value, ": must be ", least, " to ", most));
}

absl::Status CheckWidth(absl::string_view field, int64_t value, int64_t most) {
  HEADWISE_RETURN_IF_ERROR(CheckRange(field, value, 16, most));
  if (value % 16 == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " = ", value, ": must be a multiple of 16"));
}

absl::Status CheckFactor(absl::string_view field, float value, float most) {
  if (value > 0.0f && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      field, " = ", value, ": must be above 0 and at most ", most));
}

// Finite values have an exponent that is not all ones. Without a branch, so
// that a compiler makes vectors of it.
bool AllFinite(const float* x, int64_t n) {
  uint32_t bad = 0;
  for (int64_t i = 0; i < n; ++i) {
    uint32_t bits;
    __builtin_memcpy(&bits, x + i, sizeof(bits));
    bad |= (bits & 0x7f800000u) == 0x7f800000u ? 1u : 0u;
  }
  return bad == 0;
}

absl::Status CheckVectors(absl::string_view field, const float* x,
                          const MemoryRows& rows, int64_t head_dim) {
  for (int64_t r = 0; r < rows.num_rows; ++r) {
    const float* row = x + r * rows.row_stride;
    if (AllFinite(row, head_dim)) continue;
    for (int64_t i = 0;; ++i) {
      if (std::isfinite(row[i])) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          field, "[", r, "][", i, "] = ", row[i], ": must be a finite number"));
    }
  }
  return absl::OkStatus();
}

// NaN is in no range.
absl::Status CheckGate(absl::string_view field, const float* x,
                       const MemoryRows& rows, float most) {
  for (int64_t r = 0; r < rows.num_rows; ++r) {
    const float value = x[r * rows.gate_stride];
    if (value >= 0.0f && value <= most) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(field, "[", r, "] = ", value, ": must be 0 to ", most));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckMemorySpec(const MemorySpec& spec) {
  HEADWISE_RETURN_IF_ERROR(CheckWidth("head_dim", spec.head_dim, 256));
  HEADWISE_RETURN_IF_ERROR(CheckRange("num_layers", spec.num_layers, 1, 4));
  HEADWISE_RETURN_IF_ERROR(
      spec.num_layers == 1 ? CheckRange("hidden_dim", spec.hidden_dim, 0, 0)
                           : CheckWidth("hidden_dim", spec.hidden_dim, 1024));
  HEADWISE_RETURN_IF_ERROR(CheckRange("chunk_len", spec.chunk_len, 1, 4096));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("activation", static_cast<int64_t>(spec.activation), 0, 1));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("norm", static_cast<int64_t>(spec.norm), 0, 2));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("rule", static_cast<int64_t>(spec.rule), 0, 1));
  HEADWISE_RETURN_IF_ERROR(
      CheckFactor("loss_scale", spec.loss_scale, kMaxMemoryLossScale));
  return CheckFactor("max_norm", spec.max_norm, kMaxMemoryNorm);
}

absl::Status CheckMemoryRows(const MemorySpec& spec, const MemoryRows& rows) {
  HEADWISE_RETURN_IF_ERROR(
      CheckVectors("keys", rows.keys, rows, spec.head_dim));
  HEADWISE_RETURN_IF_ERROR(
      CheckVectors("values", rows.values, rows, spec.head_dim));
  if (rows.queries != nullptr) {
    HEADWISE_RETURN_IF_ERROR(
        CheckVectors("queries", rows.queries, rows, spec.head_dim));
  }
  HEADWISE_RETURN_IF_ERROR(
      CheckGate("theta", rows.theta, rows, kMaxMemoryTheta));
  HEADWISE_RETURN_IF_ERROR(CheckGate("eta", rows.eta, rows, 1.0f));
  return CheckGate("alpha", rows.alpha, rows, 1.0f);
}

absl::Status CheckMemoryWeights(absl::string_view field,
                                absl::Span<const float> weights) {
  if (AllFinite(weights.data(), static_cast<int64_t>(weights.size()))) {
    return absl::OkStatus();
  }
  for (size_t i = 0;; ++i) {
    if (std::isfinite(weights[i])) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        field, "[", i, "] = ", weights[i], ": must be a finite number"));
  }
}

}  // namespace headwise
