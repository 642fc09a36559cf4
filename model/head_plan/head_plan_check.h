// Which plans are allowed, which fit a model, and the plan that changes
// nothing.

#ifndef HEADWISE_MODEL_HEAD_PLAN_HEAD_PLAN_CHECK_H_
#define HEADWISE_MODEL_HEAD_PLAN_HEAD_PLAN_CHECK_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "model/head_plan/head_plan.h"
#include "model/hyperparameters.h"

namespace headwise {

// What readers of either form of a plan know and take.
inline constexpr uint32_t kHeadPlanVersion = 1;
inline constexpr size_t kMaxHeadPlanBytes = size_t{4} << 20;

// Of the shape; four times what the largest published model has.
inline constexpr int64_t kMaxPlanLayers = 1024;
inline constexpr int64_t kMaxPlanHeads = 1024;     // of a layer
inline constexpr int64_t kMaxPlanEntries = 65536;  // units, query heads
inline constexpr size_t kMaxPlanOriginBytes = 4096;
// Of a policy.
inline constexpr int64_t kMaxPlanSinks = 4096;
inline constexpr int64_t kMaxPlanWindow = int64_t{1} << 20;
inline constexpr int64_t kMaxPlanWindowDivisor = int64_t{1} << 20;
inline constexpr int64_t kPlanChunkMultiple = 64;
inline constexpr int64_t kMaxPlanChunkLen = 4096;
inline constexpr int64_t kMinPlanChunks = 3;
inline constexpr int64_t kMaxPlanChunks = 256;
inline constexpr float kMaxPlanOutputScale = 1000.0f;

// InvalidArgument if a field is outside what head_plan.h says, names a policy
// that does not have it, or the sizes contradict each other. The message is
// like "units[12] (layer 4, kv_head 0) window: 0 is outside [1, 1048576]".
absl::Status CheckHeadPlan(const HeadPlan& plan);

// The same for one unit and one query head: "window: 0 is outside ...".
absl::Status CheckUnitPolicy(const UnitPolicy& policy);
absl::Status CheckQueryHeadPlan(const QueryHeadPlan& head);

// num_layers, num_heads and num_kv_heads alone, before anything is made of
// them.
absl::Status CheckPlanShape(const HeadPlan& plan);

// CheckHeadPlan, then InvalidArgument if the plan was made for another model or
// another shape; Unimplemented for a titans model.
absl::Status CheckPlanFits(const HeadPlan& plan, const Hyperparameters& hyper,
                           absl::string_view model_sha256);

// What a unit sees without a plan: everything; of a titans model, its window.
UnitPolicy DefaultUnitPolicy(const Hyperparameters& hyper);

// Every unit full, every head as trained: answers are those without a plan.
// Names no model.
HeadPlan FullHeadPlan(int64_t num_layers, int64_t num_heads,
                      int64_t num_kv_heads);
// The same with DefaultUnitPolicy.
HeadPlan DefaultHeadPlan(const Hyperparameters& hyper,
                         std::string model_sha256);

}  // namespace headwise

#endif  // HEADWISE_MODEL_HEAD_PLAN_HEAD_PLAN_CHECK_H_
