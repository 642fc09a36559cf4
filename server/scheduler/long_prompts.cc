#include "server/scheduler/long_prompts.h"

#include <algorithm>

namespace headwise {

double RoomOfLongPrompts(const LongPromptTerms& terms) {
  const double beside = terms.step_room * kLongShareBeside;
  if (terms.short_cost > terms.room - beside) return terms.room;
  if (terms.is_in_flight) return 0;
  const bool is_alone =
      !terms.has_others && terms.steps_alone >= kLongStepsKeptShort;
  return std::min(terms.room,
                  is_alone ? terms.step_room * kLongShareAlone : beside);
}

}  // namespace headwise
