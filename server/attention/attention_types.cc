#include "server/attention/attention_types.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/sessions/session_geometry.h"

namespace headwise {

absl::Status CheckPolicy(const UnitPolicy& policy) {
  return CheckSessionPolicy(policy);
}

absl::Status CheckConfig(const AttentionConfig& config) {
  HEADWISE_RETURN_IF_ERROR(CheckShape(config.shape));
  if (!(std::fabs(config.softmax_scale) <= kMaxSoftmaxScale) ||
      config.softmax_scale == 0.0) {
    return absl::InvalidArgumentError(
        absl::StrCat("softmax_scale: ", config.softmax_scale,
                     ", must not be 0 nor beyond ", kMaxSoftmaxScale));
  }
  for (size_t i = 0; i < config.policies.size(); ++i) {
    const absl::Status status = CheckPolicy(config.policies[i]);
    if (status.ok()) continue;
    return absl::Status(status.code(),
                        absl::StrCat("policies[", i, "]: ", status.message()));
  }
  if (config.ttl < absl::Seconds(1) || config.ttl > kMaxSessionTtl) {
    return absl::InvalidArgumentError(
        absl::StrCat("ttl_seconds: ", absl::ToInt64Seconds(config.ttl),
                     ", allowed 1 to ", absl::ToInt64Seconds(kMaxSessionTtl)));
  }
  return absl::OkStatus();
}

}  // namespace headwise
