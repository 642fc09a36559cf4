// What differs between two plans of one shape.

#ifndef HEADWISE_MODEL_HEAD_PLAN_HEAD_PLAN_DIFF_H_
#define HEADWISE_MODEL_HEAD_PLAN_HEAD_PLAN_DIFF_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "model/head_plan/head_plan.h"

namespace headwise {

struct UnitChange {
  int64_t layer = 0;
  int64_t kv_head = 0;
  UnitPolicy before;
  UnitPolicy after;
};

struct QueryHeadChange {
  int64_t layer = 0;
  int64_t head = 0;
  QueryHeadPlan before;
  QueryHeadPlan after;
};

// In order of layers, then heads. Equal plans but for `origin`: both empty, the
// same model and the same landmark token.
struct HeadPlanDiff {
  bool is_other_model = false;
  int64_t landmark_token = -1;  // of the plan after
  std::vector<UnitChange> units;
  std::vector<QueryHeadChange> heads;
};

// Requires plans that CheckHeadPlan accepts. InvalidArgument if their shapes
// differ: then no unit of one is a unit of the other.
absl::StatusOr<HeadPlanDiff> DiffHeadPlans(const HeadPlan& before,
                                           const HeadPlan& after);

// The first layer that changes; the number of layers if none does. Requires
// plans of one shape.
int64_t FirstDifferentLayer(const HeadPlan& before, const HeadPlan& after);

}  // namespace headwise

#endif  // HEADWISE_MODEL_HEAD_PLAN_HEAD_PLAN_DIFF_H_
