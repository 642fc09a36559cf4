#include "model/head_plan/context_ranges.h"

#include <vector>

#include "gtest/gtest.h"

namespace headwise {
namespace {

// Ranges tile the positions without a gap, begin on multiples of the kernel's
// chunk of 256, and their number is what NumRanges says, at every length.
TEST(RangesTest, TileEveryContext) {
  int64_t begin = 0;
  int64_t count = 0;
  for (int64_t end = 0; end <= 3 * kLongRange + 5; ++end) {
    if (end > begin) {
      EXPECT_EQ(begin % 256, 0);
      begin = RangeEnd(begin);
      ++count;
    }
    ASSERT_GE(begin, end);
    ASSERT_EQ(NumRanges(end), count) << "end=" << end;
  }
}

TEST(RangesTest, EveryPositionLiesInTheRangeOfItsIndex) {
  int64_t index = 0;
  for (int64_t begin = 0; begin < 100'000; begin = RangeEnd(begin)) {
    for (const int64_t at : {begin, begin + 1, RangeEnd(begin) - 1}) {
      EXPECT_EQ(RangeIndex(at), index) << at;
      EXPECT_EQ(RangeBegin(at), begin) << at;
    }
    ++index;
    EXPECT_EQ(NumRanges(RangeEnd(begin)), index);
  }
}

TEST(RangesTest, AMillionPositionsAreFewRanges) {
  EXPECT_EQ(NumRanges(0), 0);
  EXPECT_EQ(NumRanges(1), 1);
  EXPECT_EQ(NumRanges(int64_t{1} << 20), 16 + 127);
}

TEST(RangesTest, DealtBlocksAreThoseOfTheDealtRanges) {
  const std::vector<int> deal = {0, 2, 2, 1, 0};
  std::vector<int64_t> counted(4, 0);
  for (int64_t length = 1; length < 30 * kLongRange; ++length) {
    if (length % 64 == 1) ++counted[deal[RangeIndex(length - 1) % 5]];
    if (length % 997 != 0 && length > 200) continue;
    for (int rank = 0; rank < 4; ++rank) {
      ASSERT_EQ(BlocksDealtTo(deal, rank, length), counted[rank]) << length;
    }
  }
}

}  // namespace
}  // namespace headwise
