#include "server/neural_memory/memory_types.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "worker/neural_memory/memory_head.h"

namespace headwise {
namespace {

absl::Status CheckGate(absl::string_view gates, const char* name, float value,
                       float most) {
  if (value >= 0.0f && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(gates, ".", name, ": ", value, ", allowed 0 to ", most));
}

absl::Status CheckGates(const MemoryConfig& config) {
  const auto count = static_cast<int64_t>(config.default_gates.size());
  if (count > 1 && count != config.num_heads) {
    return absl::InvalidArgumentError(absl::StrCat(
        "head_gates: of ", count, " heads, the memory has ", config.num_heads));
  }
  for (int64_t i = 0; i < count; ++i) {
    const MemoryGates& gates = config.default_gates[i];
    const std::string name = count == 1 ? std::string("default_gates")
                                        : absl::StrCat("head_gates[", i, "]");
    HEADWISE_RETURN_IF_ERROR(
        CheckGate(name, "theta", gates.theta, kMaxMemoryTheta));
    HEADWISE_RETURN_IF_ERROR(CheckGate(name, "eta", gates.eta, 1.0f));
    HEADWISE_RETURN_IF_ERROR(CheckGate(name, "alpha", gates.alpha, 1.0f));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckMemoryConfig(const MemoryConfig& config) {
  HEADWISE_RETURN_IF_ERROR(CheckMemorySpec(config.spec));
  if (config.num_heads < 1 || config.num_heads > kMaxMemoryHeads) {
    return absl::InvalidArgumentError(absl::StrCat(
        "num_heads: ", config.num_heads, ", allowed 1 to ", kMaxMemoryHeads));
  }
  HEADWISE_RETURN_IF_ERROR(CheckGates(config));
  if (config.ttl < absl::Seconds(1) || config.ttl > kMaxMemoryTtl) {
    return absl::InvalidArgumentError(
        absl::StrCat("ttl_seconds: ", absl::ToInt64Seconds(config.ttl),
                     ", allowed 1 to ", absl::ToInt64Seconds(kMaxMemoryTtl)));
  }
  return absl::OkStatus();
}

}  // namespace headwise
