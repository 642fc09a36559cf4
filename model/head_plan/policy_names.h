// Names of what a plan can say, and which fields each policy has.

#ifndef HEADWISE_MODEL_HEAD_PLAN_POLICY_NAMES_H_
#define HEADWISE_MODEL_HEAD_PLAN_POLICY_NAMES_H_

#include <array>
#include <optional>

#include "absl/strings/string_view.h"
#include "model/head_plan/head_plan.h"

namespace headwise {

// In order of the enumerators.
inline constexpr std::array<const char*, 7> kPolicyNames = {
    "full",  "streaming",       "razor",   "longheads",
    "quest", "landmark-oracle", "landmark"};
inline constexpr std::array<const char*, 5> kPlanKvTypeNames = {
    "default", "fp32", "fp16", "bf16", "int8"};
inline constexpr std::array<const char*, 3> kHeadMaskNames = {"none", "uniform",
                                                              "zero"};
static_assert(static_cast<size_t>(PolicyKind::kLandmark) + 1 ==
              kPolicyNames.size());
static_assert(static_cast<size_t>(PlanKvType::kInt8) + 1 ==
              kPlanKvTypeNames.size());
static_assert(static_cast<size_t>(HeadMask::kZero) + 1 ==
              kHeadMaskNames.size());

// "unknown" for a value that is no enumerator.
const char* NameOf(PolicyKind kind);
const char* NameOf(PlanKvType kv_type);
const char* NameOf(HeadMask mask);

// nullopt if nothing is called so.
std::optional<PolicyKind> PolicyNamed(absl::string_view name);
std::optional<PlanKvType> PlanKvTypeNamed(absl::string_view name);
std::optional<HeadMask> HeadMaskNamed(absl::string_view name);

// The fields of UnitPolicy that a kind names; kind and kv_type are everyone's.
struct PolicyFields {
  bool window = false;  // num_sinks, window
  bool slot_positions = false;
  bool compensation = false;  // count_weight, full_prompt, window_divisor
  bool chunks = false;        // chunk_len, num_chunks, per_query_head
};
PolicyFields FieldsOf(PolicyKind kind);

// What a policy is in a few words: "streaming, 64 sinks, window 256, int8".
std::string DescribePolicy(const UnitPolicy& policy);

}  // namespace headwise

#endif  // HEADWISE_MODEL_HEAD_PLAN_POLICY_NAMES_H_
