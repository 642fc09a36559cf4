#include "server/attention/unit_shares.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/sessions/session_geometry.h"

namespace headwise {
namespace {

using Shares = std::vector<std::vector<UnitShare>>;

SessionShape ShapeOf(int64_t num_kv_heads, int64_t max_positions) {
  return {.num_kv_heads = num_kv_heads,
          .heads_per_kv_head = 1,
          .head_dim = 64,
          .max_positions = max_positions};
}

Shares Full(int64_t num_kv_heads, int64_t max_positions,
            const std::vector<double>& speeds) {
  return ShareUnits(ShapeOf(num_kv_heads, max_positions),
                    std::vector<UnitPolicy>(num_kv_heads), speeds);
}

// Positions below `length` that a worker holds.
int64_t PositionsOf(const std::vector<UnitShare>& units, int64_t length) {
  int64_t sum = 0;
  for (const UnitShare& unit : units) {
    for (int64_t r = 0; BeginOfRange(r) < length; ++r) {
      if (!HoldsRange(unit, r)) continue;
      sum += std::min(RangeEnd(BeginOfRange(r)), length) - BeginOfRange(r);
    }
  }
  return sum;
}

TEST(UnitSharesTest, EveryRangeOfEveryUnitIsOnesAndOnlyOnes) {
  const std::vector<std::vector<double>> clusters = {
      {1}, {1, 1}, {1, 2, 3}, {1, 1, 1, 1, 1}, {1e-6, 1, 1e6}};
  for (const std::vector<double>& speeds : clusters) {
    for (const int64_t num_units : {1, 2, 3, 8}) {
      for (const int64_t max_positions : {1, 513, 100'000}) {
        std::set<std::pair<int64_t, int64_t>> held;
        for (const auto& units : Full(num_units, max_positions, speeds)) {
          EXPECT_TRUE(
              CheckShares(ShapeOf(num_units, max_positions), units).ok());
          for (const UnitShare& unit : units) {
            for (int64_t r = 0; r < NumRanges(max_positions); ++r) {
              if (!HoldsRange(unit, r)) continue;
              EXPECT_TRUE(held.insert({unit.kv_head, r}).second);
            }
          }
        }
        EXPECT_EQ(static_cast<int64_t>(held.size()),
                  num_units * NumRanges(max_positions));
      }
    }
  }
}

TEST(UnitSharesTest, EqualWorkersThatDivideTheUnitsCutNone) {
  for (const auto& units : Full(8, 1'000'000, {1, 1})) {
    ASSERT_EQ(units.size(), 4u);
    for (const UnitShare& unit : units) EXPECT_TRUE(unit.is_whole());
  }
}

// To a range's grain, while the context grows.
TEST(UnitSharesTest, SharesFollowTheSpeedsAtEveryLength) {
  const std::vector<double> speeds = {1, 2, 1};
  for (const int64_t num_units : {1, 3}) {
    const Shares shares = Full(num_units, 1'000'000, speeds);
    for (const int64_t length : {100'000, 300'000, 1'000'000}) {
      for (size_t w = 0; w < speeds.size(); ++w) {
        const double want =
            static_cast<double>(num_units * length) * speeds[w] / 4;
        EXPECT_NEAR(static_cast<double>(PositionsOf(shares[w], length)), want,
                    2.0 * kLongRange + want / 32)
            << "worker " << w << " at " << length;
      }
    }
  }
}

TEST(UnitSharesTest, StreamingUnitsGoWholeAndFullOnesFillUp) {
  const UnitPolicy streaming = {
      .kind = PolicyKind::kStreaming, .num_sinks = 4, .window = 1000};
  const std::vector<UnitPolicy> policies = {streaming, {}, streaming, {}};
  const Shares shares = ShareUnits(ShapeOf(4, 100'000), policies, {1, 1});
  ASSERT_EQ(shares.size(), 2u);
  for (const auto& units : shares) {
    ASSERT_EQ(units.size(), 2u);  // one of each kind
    EXPECT_TRUE(units[0].is_whole());
    EXPECT_TRUE(units[1].is_whole());
    EXPECT_NE(units[0].is_full(), units[1].is_full());
  }
}

TEST(UnitSharesTest, ASlowWorkerMayHoldNothing) {
  const Shares shares = Full(1, 1000, {1.0, 1e-6});
  EXPECT_EQ(shares[0].size(), 1u);
  EXPECT_TRUE(shares[1].empty());
}

TEST(ExpectedPartsTest, LeadingRangesAreOnePart) {
  using testing::ElementsAre;
  using testing::IsEmpty;
  EXPECT_THAT(ExpectedParts({}, 0), IsEmpty());
  EXPECT_THAT(ExpectedParts({}, 1'000'000), ElementsAre(0));
  const UnitShare cut = {.ranges = {0, 1, 3, 4}};
  EXPECT_THAT(ExpectedParts(cut, 1), ElementsAre(0));
  EXPECT_THAT(ExpectedParts(cut, 3 * 512 + 1), ElementsAre(0, 3));
  EXPECT_THAT(ExpectedParts(cut, 10'000), ElementsAre(0, 3, 4));
  EXPECT_THAT(ExpectedParts({.ranges = {1, 2}}, 512), IsEmpty());
  EXPECT_THAT(ExpectedParts({.ranges = {1, 2}}, 2000), ElementsAre(1, 2));
}

}  // namespace
}  // namespace headwise
