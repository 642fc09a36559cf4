#include "model/head_plan/landmarks.h"

#include "absl/strings/str_cat.h"

namespace headwise {
namespace {

// The first place of a landmark at `position` or after it.
int64_t NextLandmark(int64_t position, int64_t period) {
  return position / period * period + period - 1;
}

}  // namespace

int64_t LandmarkPeriod(const HeadPlan& plan) {
  for (const UnitPolicy& unit : plan.units) {
    if (unit.kind == PolicyKind::kLandmark) return unit.chunk_len;
  }
  return 0;
}

absl::Status CheckLandmarks(const HeadPlan& plan, int64_t first,
                            absl::Span<const int32_t> prompt, int64_t num_new) {
  if (plan.landmark_token == -1) return absl::OkStatus();
  const int64_t period = LandmarkPeriod(plan);
  const int64_t end = first + static_cast<int64_t>(prompt.size());
  int64_t place = NextLandmark(first, period);
  for (; place < end; place += period) {
    const int32_t token = prompt[static_cast<size_t>(place - first)];
    if (token == plan.landmark_token) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "prompt: token ", token, " is at position ", place,
        ", where the plan's landmark ", plan.landmark_token,
        " belongs: one at the end of every ", period, " positions"));
  }
  if (num_new <= place - end) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("max_new_tokens: ", num_new, " would reach position ", place,
                   ", where the plan's landmark ", plan.landmark_token,
                   " belongs; at most ", place - end, " fit before it"));
}

}  // namespace headwise
