// How long a context a plan allows, whatever the memory.

#ifndef HEADWISE_MODEL_HEAD_PLAN_ROTARY_REACH_H_
#define HEADWISE_MODEL_HEAD_PLAN_ROTARY_REACH_H_

#include <cstdint>

#include "model/head_plan/head_plan.h"

namespace headwise {

// Positions of a sequence; token ids and positions fit 32 bits on the wire.
inline constexpr int64_t kLongestContext = int64_t{1} << 30;

// One more than the greatest distance between a query and a key that the unit's
// rotary embedding ever sees; INT64_MAX if it grows with the context.
int64_t RotaryReach(const UnitPolicy& policy);

// Positions that a sequence under `plan` may have: a model answers well only at
// distances that it was trained for, `max_context_len`. So where every unit
// renumbers positions within that (LongHeads; streaming and landmark by slots),
// there is no limit but kLongestContext; else it is the model's.
int64_t LongestContext(const HeadPlan& plan, int64_t max_context_len);

}  // namespace headwise

#endif  // HEADWISE_MODEL_HEAD_PLAN_ROTARY_REACH_H_
