#include "server/frontends/server_health.h"

#include "absl/strings/str_cat.h"
#include "base/pulse.h"
#include "base/status_macros.h"

namespace headwise {

absl::Status ServerHealth::Startup() const {
  if (has_stood_) return absl::OkStatus();
  // First: a thread that is frozen may hold what the cluster's state needs.
  HEADWISE_RETURN_IF_ERROR(Live());
  if (!cluster_.ready()) {
    return absl::UnavailableError(
        absl::StrCat("no group of workers has stood yet: ", cluster_.detail()));
  }
  has_stood_ = true;
  return absl::OkStatus();
}

absl::Status ServerHealth::Live() const { return CheckPulses(); }

absl::Status ServerHealth::Serving() const {
  if (open_calls_.closed()) return absl::UnavailableError("draining");
  return Live();
}

absl::Status ServerHealth::Ready() const {
  HEADWISE_RETURN_IF_ERROR(Serving());
  if (cluster_.ready()) {
    has_stood_ = true;
    return absl::OkStatus();
  }
  return absl::UnavailableError(
      absl::StrCat("no group of workers stands: ", cluster_.detail()));
}

std::string ServerHealth::Detail() const {
  // As in Startup.
  if (!Live().ok()) return "";
  // If none serves, the probe has said why.
  std::string detail = cluster_.ready() ? cluster_.detail() : "";
  for (const MissingMember& worker : cluster_.missing_workers()) {
    absl::StrAppend(&detail, detail.empty() ? "" : "\n",
                    "missing: ", worker.name, ": ", worker.reason);
  }
  return detail;
}

}  // namespace headwise
