#include "server/scheduler/held_prefixes.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"

namespace headwise {
namespace {

TEST(HeldPrefixesTest, GoesOnceReleasedAndWithoutForks) {
  HeldPrefixes held;
  held.Add(1, {.length = 64});
  ASSERT_NE(held.Find(1), nullptr);
  EXPECT_EQ(held.Find(1)->length, 64);
  held.AddFork(2, 1);
  held.AddFork(3, 1);
  EXPECT_FALSE(held.EndFork(2).has_value()) << "it was not released";
  EXPECT_FALSE(held.Release(1)) << "a fork is left";
  EXPECT_EQ(held.Find(1), nullptr) << "no new forks";
  EXPECT_EQ(held.num_held(), 1);
  EXPECT_FALSE(held.EndFork(2).has_value()) << "it ended before";
  const auto gone = held.EndFork(3);
  ASSERT_TRUE(gone.has_value());
  EXPECT_EQ(gone->id, 1u);
  EXPECT_EQ(held.num_held(), 0);
}

TEST(HeldPrefixesTest, AForkMayBeAPrefixItself) {
  HeldPrefixes held;
  held.Add(1, {.length = 64});
  held.AddFork(2, 1);
  held.Add(2, {.length = 100});
  held.AddFork(3, 2);
  EXPECT_EQ(held.ChainOf(2), (std::vector<uint64_t>{2, 1}));
  EXPECT_EQ(held.ChainOf(1), (std::vector<uint64_t>{1}));
  EXPECT_FALSE(held.Release(1));
  EXPECT_FALSE(held.Release(2));
  EXPECT_EQ(held.EndFork(3)->id, 2u);
  EXPECT_EQ(held.EndFork(2)->id, 1u) << "once the KV of 2 is free";
}

TEST(HeldPrefixesTest, ReleaseAllLeavesThoseWithForks) {
  HeldPrefixes held;
  held.Add(1, {});
  held.Add(2, {});
  held.AddFork(3, 2);
  const std::vector<GonePrefix> gone = held.ReleaseAll();
  ASSERT_EQ(gone.size(), 1u);
  EXPECT_EQ(gone[0].id, 1u);
  EXPECT_FALSE(held.Release(1)) << "it is gone";
  EXPECT_EQ(held.ids(), (std::vector<uint64_t>{2}));
  EXPECT_EQ(held.EndFork(3)->id, 2u);
}

TEST(HeldPrefixesTest, LossLeavesTokensAndWhatStillHasForks) {
  HeldPrefixes held;
  held.Add(1, {.length = 2, .tokens = {5, 6}});
  held.AddFork(2, 1);
  held.Add(2, {.length = 3, .tokens = {7}});
  held.AddFork(3, 2);
  held.Add(4, {.length = 1, .tokens = {8}});
  held.AddFork(5, 4);
  held.Add(6, {.length = 1});
  for (const uint64_t id : {1, 2, 4}) EXPECT_FALSE(held.Release(id));
  held.Lose([](uint64_t id) { return id == 3; });
  EXPECT_EQ(held.ids(), (std::vector<uint64_t>{1, 2})) << "5 has ended";
  EXPECT_EQ(held.At(2).place, PrefixPlace::kLost);
  EXPECT_EQ(held.Find(6), nullptr) << "its tokens are unknown";
  held.Lose([](uint64_t) { return false; });
  EXPECT_EQ(held.num_held(), 0);
}

TEST(HeldPrefixesTest, WhatNothingWaitsForIsEvictedFirst) {
  HeldPrefixes held;
  for (const uint64_t id : {1, 2, 3, 4, 5}) {
    held.Add(id, {.length = 1, .tokens = {5}, .may_evict = id != 4});
  }
  held.AddFork(6, 1);  // waits
  held.AddFork(7, 2);  // runs
  EXPECT_EQ(held.Evictable([](uint64_t fork) { return fork == 6; }),
            (std::vector<uint64_t>{3, 5, 1}));
  held.AddFork(8, 5);
  held.Add(8, {.length = 2, .tokens = {6}});  // is to stay
  EXPECT_EQ(held.Evictable([](uint64_t) { return true; }),
            (std::vector<uint64_t>{3, 1, 2}));
  EXPECT_EQ(held.InMemoryAfter(5), (std::vector<uint64_t>{8}));
}

TEST(HeldPrefixesTest, TokensOfAnOriginAreTakenUnderTheSamePlanOnly) {
  const auto plan = std::make_shared<const HeadPlan>();
  HeldPrefixes held;
  held.Add(1, {.length = 2, .plan = plan, .tokens = {5, 6}});
  held.AddFork(2, 1);
  held.Add(2, {.length = 3, .plan = plan, .tokens = {7}});
  held.AddFork(3, 1);
  held.Add(3, {.length = 3, .tokens = {7}});
  held.TakeTokensOfOrigin(2);
  EXPECT_EQ(held.At(2).tokens, (std::vector<int32_t>{5, 6, 7}));
  held.TakeTokensOfOrigin(3);
  EXPECT_TRUE(held.At(3).tokens.empty());
}

}  // namespace
}  // namespace headwise
