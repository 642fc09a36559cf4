#include "server/scheduler/long_prompts.h"

#include <algorithm>

namespace headwise {

double RoomOfLongPrompts(const LongPromptTerms& terms) {
  const double beside = terms.step_room * kLongShareBeside;
  if (terms.short_cost > terms.room - beside) return terms.room;
  const bool is_alone =
      !terms.has_others && terms.steps_alone >= kLongStepsKeptShort;
  const bool is_soon_done =
      terms.longest_cost <= terms.step_room * kVeryLongSteps;
  if (is_alone && is_soon_done) return terms.room;
  if (terms.is_in_flight) return 0;
  if (terms.is_short_in_flight && terms.num_passed < kMaxPassed) return 0;
  return std::min(terms.room,
                  is_alone ? terms.step_room * kLongShareAlone : beside);
}

}  // namespace headwise
