#include "model/head_plan/rotary_reach.h"

#include <limits>

namespace headwise {

int64_t RotaryReach(const UnitPolicy& policy) {
  if (policy.kind == PolicyKind::kLongHeads) {
    return policy.chunk_len * policy.num_chunks;
  }
  if (policy.kind == PolicyKind::kStreaming && policy.slot_positions) {
    return policy.num_sinks + policy.window;
  }
  if (policy.kind == PolicyKind::kLandmark && policy.slot_positions) {
    return policy.chunk_len * (policy.num_chunks + 1);
  }
  return std::numeric_limits<int64_t>::max();
}

int64_t LongestContext(const HeadPlan& plan, int64_t max_context_len) {
  for (const UnitPolicy& unit : plan.units) {
    if (RotaryReach(unit) > max_context_len) return max_context_len;
  }
  return plan.units.empty() ? max_context_len : kLongestContext;
}

}  // namespace headwise
