#include "server/scheduler/long_prompts.h"

#include "gtest/gtest.h"

namespace headwise {
namespace {

// Of a step with room for 512 in which nothing else is yet.
LongPromptTerms Terms() { return {.step_room = 512, .room = 512}; }

TEST(LongPromptsTest, AVeryLongOneHasHalfAStepOnceNobodyHasComeForAWhile) {
  LongPromptTerms terms = Terms();
  terms.longest_cost = 512 * kVeryLongSteps + 1;
  terms.steps_alone = kLongStepsKeptShort - 1;
  EXPECT_EQ(RoomOfLongPrompts(terms), 128);
  terms.steps_alone = kLongStepsKeptShort;
  EXPECT_EQ(RoomOfLongPrompts(terms), 256);
}

TEST(LongPromptsTest, OneThatIsSoonDoneHasFullStepsThen) {
  LongPromptTerms terms = Terms();
  terms.longest_cost = 512 * kVeryLongSteps;
  terms.is_in_flight = true;
  terms.steps_alone = kLongStepsKeptShort - 1;
  EXPECT_EQ(RoomOfLongPrompts(terms), 0);
  terms.steps_alone = kLongStepsKeptShort;
  EXPECT_EQ(RoomOfLongPrompts(terms), 512);
  terms.has_others = true;
  EXPECT_EQ(RoomOfLongPrompts(terms), 0);
}

TEST(LongPromptsTest, AQuarterBesideOthers) {
  LongPromptTerms terms = Terms();
  terms.steps_alone = kLongStepsKeptShort;
  terms.has_others = true;
  EXPECT_EQ(RoomOfLongPrompts(terms), 128);
  terms.room = 130;  // decode rows have the rest
  EXPECT_EQ(RoomOfLongPrompts(terms), 128);
  terms.room = 100;
  EXPECT_EQ(RoomOfLongPrompts(terms), 100);
}

TEST(LongPromptsTest, NothingWhileSomeOfThemAreInFlight) {
  LongPromptTerms terms = Terms();
  terms.is_in_flight = true;
  EXPECT_EQ(RoomOfLongPrompts(terms), 0);
}

TEST(LongPromptsTest, ShortOnesPassButNotForEver) {
  LongPromptTerms terms = Terms();
  terms.has_others = true;
  terms.is_short_in_flight = true;
  terms.num_passed = kMaxPassed - 1;
  EXPECT_EQ(RoomOfLongPrompts(terms), 0);
  terms.num_passed = kMaxPassed;
  EXPECT_EQ(RoomOfLongPrompts(terms), 128);
}

TEST(LongPromptsTest, MoreShortOnesThanFitLeaveItToTheShares) {
  LongPromptTerms terms = Terms();
  terms.has_others = true;
  terms.short_cost = 384;
  EXPECT_EQ(RoomOfLongPrompts(terms), 128);
  terms.short_cost = 385;
  EXPECT_EQ(RoomOfLongPrompts(terms), 512);
  terms.is_in_flight = true;
  EXPECT_EQ(RoomOfLongPrompts(terms), 512);
}

}  // namespace
}  // namespace headwise
