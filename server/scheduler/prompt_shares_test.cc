#include "server/scheduler/prompt_shares.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::Pair;

// What each takes whose rows cost 1, in the order of its turn.
std::vector<std::pair<size_t, double>> Deal(
    const std::vector<PromptNeed>& prompts, double room) {
  std::vector<std::pair<size_t, double>> taken;
  DealRoom(prompts, room, [&](size_t index, double budget) {
    const double rows = std::min<double>(budget, prompts[index].rows_left);
    taken.emplace_back(index, rows);
    return rows;
  });
  return taken;
}

TEST(PromptSharesTest, OnePromptTakesAll) {
  EXPECT_THAT(Deal({{"", 1000}}, 512), ElementsAre(Pair(0, 512)));
  EXPECT_THAT(Deal({{"", 30}}, 512), ElementsAre(Pair(0, 30)));
  EXPECT_THAT(Deal({}, 512), ElementsAre());
}

TEST(PromptSharesTest, ShortOnesPassALongOneThatKeepsAQuarter) {
  EXPECT_THAT(Deal({{"", 100'000}, {"", 300}, {"", 40}}, 400),
              ElementsAre(Pair(2, 40), Pair(1, 260), Pair(0, 100)));
  EXPECT_THAT(Deal({{"", 100'000}, {"", 40}}, 400),
              ElementsAre(Pair(1, 40), Pair(0, 360)));
}

TEST(PromptSharesTest, TheShortestMayBeTheOldest) {
  EXPECT_THAT(Deal({{"", 40}, {"", 1000}}, 400),
              ElementsAre(Pair(0, 40), Pair(1, 360)));
}

TEST(PromptSharesTest, EqualOnesComeByArrival) {
  EXPECT_THAT(Deal({{"", 200}, {"", 200}, {"", 200}}, 400),
              ElementsAre(Pair(0, 200), Pair(1, 200), Pair(2, 0)));
}

TEST(PromptSharesTest, ATenantWithManyPromptsGetsNoMoreThanOneWithOne) {
  EXPECT_THAT(Deal({{"a", 500}, {"a", 500}, {"a", 500}, {"b", 500}}, 400),
              ElementsAre(Pair(0, 200), Pair(1, 0), Pair(2, 0), Pair(3, 200)));
}

TEST(PromptSharesTest, WhatATenantLeavesGoesToTheNext) {
  EXPECT_THAT(Deal({{"a", 10}, {"b", 500}, {"c", 500}}, 400),
              ElementsAre(Pair(0, 10), Pair(1, 195), Pair(2, 195)));
}

}  // namespace
}  // namespace headwise
