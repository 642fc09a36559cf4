#include "base/huge_memory.h"

#include <cstring>
#include <utility>

#include "gtest/gtest.h"

namespace headwise {
namespace {

constexpr int64_t kHugePage = 2 << 20;  // bytes

TEST(HugeMemoryTest, IsZeroAlignedAndWholeForAnySize) {
  for (const int64_t bytes :
       {int64_t{1}, kHugePage - 1, kHugePage, kHugePage + 1}) {
    const HugeMemory memory(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.data()) % kHugePage, 0u);
    EXPECT_EQ(memory.data()[0], 0);
    EXPECT_EQ(memory.data()[bytes - 1], 0);
    memory.data()[bytes - 1] = 1;
  }
}

TEST(HugeMemoryTest, NoBytesAreLegal) {
  const HugeMemory none(0);
  EXPECT_NE(none.data(), nullptr);
  const HugeMemory absent;
  EXPECT_EQ(absent.data(), nullptr);
}

TEST(HugeMemoryTest, MovingKeepsTheBytesWhereTheyAre) {
  HugeMemory first(100);
  uint8_t* const data = first.data();
  data[99] = 7;
  HugeMemory second(std::move(first));
  EXPECT_EQ(second.data(), data);
  HugeMemory third(50);
  third = std::move(second);
  EXPECT_EQ(third.data(), data);
  EXPECT_EQ(third.data()[99], 7);
}

// Neighbours share the pages at the ends, so these stay.
TEST(HugeMemoryTest, ReleaseGivesBackThePagesThatLieWithin) {
  constexpr int64_t kPage = 4096;
  HugeMemory memory(10 * kPage);
  std::memset(memory.data(), 7, 10 * kPage);
  memory.Release(2 * kPage - 1, 3 * kPage);
  for (int64_t i = 0; i < 10 * kPage; ++i) {
    const bool is_within = 2 * kPage <= i && i < 4 * kPage;
    ASSERT_EQ(memory.data()[i], is_within ? 0 : 7) << i;
  }
  memory.Release(5 * kPage + 1, kPage);  // no whole page
  EXPECT_EQ(memory.data()[5 * kPage + 1], 7);
}

}  // namespace
}  // namespace headwise
