// How much of a step goes to prompts that are too long for one.

#ifndef HEADWISE_SERVER_SCHEDULER_LONG_PROMPTS_H_
#define HEADWISE_SERVER_SCHEDULER_LONG_PROMPTS_H_

#include <cstdint>

namespace headwise {

// A prompt that fits into one step is done with it, and who comes meanwhile
// waits for that step. A longer one fills steps for as long as it lasts, so
// that everybody who comes would find full ones before him. So its steps are
// not full, a quarter while others are there, and only one that has rows of
// long prompts is sent: who comes finds nothing else before him.
//
// What it costs: a step of 512 rows has the rows of four such ones in about 90
// % of their time (bench/results/serving-fairness.md), and workers wait for a
// round trip after each one if nobody else has a row.

// Of a full step, what rows of long prompts may cost: if nothing else runs, and
// beside others.
inline constexpr double kLongShareAlone = 0.5;
inline constexpr double kLongShareBeside = 0.25;
// So many steps with rows of long prompts after others were there they are
// still as short: about a second. Who was here comes again.
inline constexpr int64_t kLongStepsKeptShort = 32;

struct LongPromptTerms {
  double step_room = 0;  // of an empty step, RowCosts
  double room = 0;       // of it, what prompts may have
  // What is left of the prompts that are not long.
  double short_cost = 0;
  // Something runs that is no long prompt.
  bool has_others = false;
  // Steps with rows of long prompts since that was so beside them.
  int64_t steps_alone = 0;
  // One of them has not been answered.
  bool is_in_flight = false;
};

// What rows of long prompts in the next step may cost, all together; 0: there
// may be none. If short prompts would fill more than what they leave free,
// there are more requests than time for them: nobody's answer is quick then,
// and the room is shared by prompt_shares.h alone. A pure function.
double RoomOfLongPrompts(const LongPromptTerms& terms);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_LONG_PROMPTS_H_
