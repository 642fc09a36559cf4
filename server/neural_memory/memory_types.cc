#include "server/neural_memory/memory_types.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/neural_memory/memory_head.h"

namespace headwise {
namespace {

absl::Status CheckGate(const char* name, float value, float most) {
  if (value >= 0.0f && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "default_gates.", name, ": ", value, ", allowed 0 to ", most));
}

}  // namespace

absl::Status CheckMemoryConfig(const MemoryConfig& config) {
  HEADWISE_RETURN_IF_ERROR(CheckMemorySpec(config.spec));
  if (config.num_heads < 1 || config.num_heads > kMaxMemoryHeads) {
    return absl::InvalidArgumentError(absl::StrCat(
        "num_heads: ", config.num_heads, ", allowed 1 to ", kMaxMemoryHeads));
  }
  if (config.default_gates.has_value()) {
    const MemoryGates& gates = *config.default_gates;
    HEADWISE_RETURN_IF_ERROR(CheckGate("theta", gates.theta, kMaxMemoryTheta));
    HEADWISE_RETURN_IF_ERROR(CheckGate("eta", gates.eta, 1.0f));
    HEADWISE_RETURN_IF_ERROR(CheckGate("alpha", gates.alpha, 1.0f));
  }
  if (config.ttl < absl::Seconds(1) || config.ttl > kMaxMemoryTtl) {
    return absl::InvalidArgumentError(
        absl::StrCat("ttl_seconds: ", absl::ToInt64Seconds(config.ttl),
                     ", allowed 1 to ", absl::ToInt64Seconds(kMaxMemoryTtl)));
  }
  return absl::OkStatus();
}

}  // namespace headwise
