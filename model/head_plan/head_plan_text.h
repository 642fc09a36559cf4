// The text form of a head plan: JSON that people read and write by hand.
// docs/head-plans.md shows it; docs/schemas/head_plan.schema.json describes it.
//
// "units" is a list of rules, each with the layers and KV heads that it is for;
// of two that name a unit, the later one counts, whole. Units that no rule
// names are full. "query_heads" likewise; heads that none names are as trained.

#ifndef HEADWISE_MODEL_HEAD_PLAN_HEAD_PLAN_TEXT_H_
#define HEADWISE_MODEL_HEAD_PLAN_HEAD_PLAN_TEXT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/head_plan/head_plan.h"

namespace headwise {

// Units or heads that all rules together may name: what reading costs.
inline constexpr int64_t kMaxNamedByRules = int64_t{1} << 22;

// One rule a line, in a fixed order: equal plans give equal texts. Requires a
// plan that CheckHeadPlan accepts.
std::string HeadPlanToText(const HeadPlan& plan);

// A plan that CheckHeadPlan accepts, or InvalidArgument that names the field
// ("units[3].window: 0 is outside [1, 1048576]"): a key that is unknown, that
// the policy does not have, that is missing or occurs twice; a type; a range; a
// value.
absl::StatusOr<HeadPlan> ParseHeadPlanText(absl::string_view text);

}  // namespace headwise

#endif  // HEADWISE_MODEL_HEAD_PLAN_HEAD_PLAN_TEXT_H_
