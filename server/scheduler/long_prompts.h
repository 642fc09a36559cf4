// How much of a step goes to prompts that are too long for one.

#ifndef HEADWISE_SERVER_SCHEDULER_LONG_PROMPTS_H_
#define HEADWISE_SERVER_SCHEDULER_LONG_PROMPTS_H_

#include <cstdint>

namespace headwise {

// A prompt that fits into one step is done with it, and who comes meanwhile
// waits for that step. A longer one fills steps for as long as it lasts, so
// that everybody who comes would find two full ones before him. So beside
// others its steps are not full, and only one that has rows of long prompts is
// sent: who comes finds nothing else before him. A very long one keeps to that
// when it is alone, since somebody will come.
//
// What it costs: steps of 128 rows take 1.1 times as long for a prompt of 4,000
// tokens as those of 512, and workers wait for a round trip after each one if
// nobody else has a row (bench/results/serving-fairness.md). So one that is
// done in seconds has full steps, two in flight, until somebody comes.

// Of a full step, what rows of long prompts may cost: of very long ones if
// nothing else runs, and of all beside others.
inline constexpr double kLongShareAlone = 0.5;
inline constexpr double kLongShareBeside = 0.25;
// So many steps with rows of long prompts after others were there they are
// still as short: about a second. Who was here comes again.
inline constexpr int64_t kLongStepsKeptShort = 32;
// A prompt is very long if it costs more than so many full steps: about five
// seconds.
inline constexpr double kVeryLongSteps = 32;
// A step of long prompts waits until those of short ones are answered, so that
// the next short one goes behind these and not behind it; but only so often in
// a row, that long ones go on however many short ones come.
inline constexpr int64_t kMaxPassed = 4;

struct LongPromptTerms {
  double step_room = 0;  // of an empty step, RowCosts
  double room = 0;       // of it, what prompts may have
  // What is left of the prompts that are not long.
  double short_cost = 0;
  // Of all rows of the longest prompt.
  double longest_cost = 0;
  // Something runs that is no long prompt.
  bool has_others = false;
  // Steps with rows of long prompts since that was so beside them.
  int64_t steps_alone = 0;
  // One of them has not been answered; one with rows of short prompts.
  bool is_in_flight = false;
  bool is_short_in_flight = false;
  // Steps with rows of short prompts and none of long ones, since the last that
  // had them.
  int64_t num_passed = 0;
};

// What rows of long prompts in the next step may cost, all together; 0: there
// may be none. If short prompts would fill more than what they leave free,
// there are more requests than time for them: nobody's answer is quick then,
// and the room is shared by prompt_shares.h alone. A pure function.
double RoomOfLongPrompts(const LongPromptTerms& terms);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_LONG_PROMPTS_H_
