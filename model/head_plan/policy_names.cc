#include "model/head_plan/policy_names.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace headwise {
namespace {

template <typename Enum, size_t kSize>
const char* NameIn(const std::array<const char*, kSize>& names, Enum value) {
  const auto index = static_cast<size_t>(value);
  return index < kSize ? names[index] : "unknown";
}

template <typename Enum, size_t kSize>
std::optional<Enum> FindIn(const std::array<const char*, kSize>& names,
                           absl::string_view name) {
  const auto it = std::find(names.begin(), names.end(), name);
  if (it == names.end()) return std::nullopt;
  return static_cast<Enum>(it - names.begin());
}

}  // namespace

const char* NameOf(PolicyKind kind) { return NameIn(kPolicyNames, kind); }
const char* NameOf(PlanKvType kv_type) {
  return NameIn(kPlanKvTypeNames, kv_type);
}
const char* NameOf(HeadMask mask) { return NameIn(kHeadMaskNames, mask); }

std::optional<PolicyKind> PolicyNamed(absl::string_view name) {
  return FindIn<PolicyKind>(kPolicyNames, name);
}
std::optional<PlanKvType> PlanKvTypeNamed(absl::string_view name) {
  return FindIn<PlanKvType>(kPlanKvTypeNames, name);
}
std::optional<HeadMask> HeadMaskNamed(absl::string_view name) {
  return FindIn<HeadMask>(kHeadMaskNames, name);
}

PolicyFields FieldsOf(PolicyKind kind) {
  switch (kind) {
    case PolicyKind::kFull:
      return {};
    case PolicyKind::kStreaming:
      return {.window = true, .slot_positions = true};
    case PolicyKind::kRazor:
      return {.window = true, .compensation = true};
    case PolicyKind::kLongHeads:
    case PolicyKind::kQuest:
    case PolicyKind::kLandmarkOracle:
      return {.chunks = true};
    case PolicyKind::kLandmark:
      return {.slot_positions = true, .chunks = true};
  }
  return {};
}

std::string DescribePolicy(const UnitPolicy& policy) {
  std::string text = NameOf(policy.kind);
  const PolicyFields fields = FieldsOf(policy.kind);
  if (fields.window) {
    absl::StrAppend(&text, ", ", policy.num_sinks, " sinks, window ",
                    policy.window);
  }
  if (fields.compensation) {
    if (!policy.count_weight) absl::StrAppend(&text, ", slot of weight 1");
    if (!policy.full_prompt) absl::StrAppend(&text, ", drops in the prompt");
    if (policy.window_divisor > 0) {
      absl::StrAppend(&text, " or prompt / ", policy.window_divisor);
    }
  }
  if (fields.chunks) {
    absl::StrAppend(&text, ", ", policy.num_chunks, " chunks of ",
                    policy.chunk_len);
    if (policy.per_query_head) absl::StrAppend(&text, " for each query head");
  }
  if (policy.slot_positions) absl::StrAppend(&text, ", slot positions");
  if (policy.kv_type != PlanKvType::kDefault) {
    absl::StrAppend(&text, ", ", NameOf(policy.kv_type));
  }
  return text;
}

}  // namespace headwise
