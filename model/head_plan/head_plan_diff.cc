#include "model/head_plan/head_plan_diff.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace headwise {
namespace {

template <typename Value, typename Change>
void AddChanges(const std::vector<Value>& before,
                const std::vector<Value>& after, int64_t per_layer,
                std::vector<Change>* changes) {
  for (size_t i = 0; i < before.size(); ++i) {
    if (before[i] == after[i]) continue;
    const auto index = static_cast<int64_t>(i);
    changes->push_back(
        {index / per_layer, index % per_layer, before[i], after[i]});
  }
}

}  // namespace

absl::StatusOr<HeadPlanDiff> DiffHeadPlans(const HeadPlan& before,
                                           const HeadPlan& after) {
  if (before.num_layers != after.num_layers ||
      before.num_heads != after.num_heads ||
      before.num_kv_heads != after.num_kv_heads) {
    const auto shape_of = [](const HeadPlan& plan) {
      return absl::StrCat(plan.num_layers, " layers of ", plan.num_heads,
                          " heads in ", plan.num_kv_heads, " KV heads");
    };
    return absl::InvalidArgumentError(
        absl::StrCat("the plans are for other shapes: ", shape_of(before), "; ",
                     shape_of(after)));
  }
  HeadPlanDiff diff;
  diff.is_other_model = before.model_sha256 != after.model_sha256;
  diff.landmark_token = after.landmark_token;
  AddChanges(before.units, after.units, before.num_kv_heads, &diff.units);
  AddChanges(before.heads, after.heads, before.num_heads, &diff.heads);
  return diff;
}

int64_t FirstDifferentLayer(const HeadPlan& before, const HeadPlan& after) {
  const absl::StatusOr<HeadPlanDiff> diff = DiffHeadPlans(before, after);
  HEADWISE_CHECK(diff.ok());
  int64_t layer = before.num_layers;
  if (!diff->units.empty()) layer = diff->units.front().layer;
  if (!diff->heads.empty()) layer = std::min(layer, diff->heads.front().layer);
  return layer;
}

}  // namespace headwise
