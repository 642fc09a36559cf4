#include "server/scheduler/held_prefixes.h"

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
  EXPECT_EQ(held.EndFork(3), 1u);
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
  EXPECT_EQ(held.EndFork(3), 2u);
  EXPECT_EQ(held.EndFork(2), 1u) << "once the KV of 2 is free";
}

TEST(HeldPrefixesTest, ReleaseAllLeavesThoseWithForks) {
  HeldPrefixes held;
  held.Add(1, {});
  held.Add(2, {});
  held.AddFork(3, 2);
  EXPECT_EQ(held.ReleaseAll(), (std::vector<uint64_t>{1}));
  EXPECT_FALSE(held.Release(1)) << "it is gone";
  EXPECT_EQ(held.ids(), (std::vector<uint64_t>{2}));
  EXPECT_EQ(held.EndFork(3), 2u);
}

}  // namespace
}  // namespace headwise
