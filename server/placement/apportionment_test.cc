#include "server/placement/apportionment.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using ::testing::ElementsAre;

RankLoads Unlimited(const std::vector<double>& speed) {
  return {.speed = speed,
          .memory_bytes =
              std::vector<absl::int128>(speed.size(), absl::Int128Max()),
          .used_bytes = std::vector<absl::int128>(speed.size(), 0)};
}

// Calls `visit` for every way to give `pieces` to `world_size` ranks.
void ForEachShare(int64_t pieces, size_t world_size,
                  const std::function<void(const std::vector<int64_t>&)>& visit,
                  std::vector<int64_t> prefix = {}) {
  if (prefix.size() + 1 == world_size) {
    prefix.push_back(pieces);
    visit(prefix);
    return;
  }
  for (int64_t count = 0; count <= pieces; ++count) {
    std::vector<int64_t> next = prefix;
    next.push_back(count);
    ForEachShare(pieces - count, world_size, visit, next);
  }
}

double Slowest(const std::vector<int64_t>& counts,
               const std::vector<double>& speed) {
  double slowest = 0.0;
  for (size_t rank = 0; rank < speed.size(); ++rank) {
    slowest = std::max(slowest, counts[rank] / speed[rank]);
  }
  return slowest;
}

double LeastMaximum(int64_t pieces, const std::vector<double>& speed) {
  double least = std::numeric_limits<double>::infinity();
  ForEachShare(pieces, speed.size(), [&](const std::vector<int64_t>& counts) {
    least = std::min(least, Slowest(counts, speed));
  });
  return least;
}

// Every list of `world_size` speeds out of a few.
std::vector<std::vector<double>> SpeedLists(size_t world_size) {
  std::vector<std::vector<double>> lists = {{}};
  for (size_t rank = 0; rank < world_size; ++rank) {
    std::vector<std::vector<double>> longer;
    for (const std::vector<double>& list : lists) {
      for (const double speed : {0.3, 0.5, 1.0, 1.7}) {
        longer.push_back(list);
        longer.back().push_back(speed);
      }
    }
    lists = longer;
  }
  return lists;
}

TEST(LayerLimitsTest, AreTheCountsOfTheExhaustiveOptimum) {
  for (size_t world_size = 1; world_size <= 4; ++world_size) {
    for (const std::vector<double>& speed : SpeedLists(world_size)) {
      for (int64_t pieces = 1; pieces <= 4; ++pieces) {
        const double least = LeastMaximum(pieces, speed);
        const std::vector<int64_t> limits = LayerLimits(pieces, speed);
        EXPECT_EQ(Slowest(limits, speed), least);
        EXPECT_GE(std::accumulate(limits.begin(), limits.end(), int64_t{0}),
                  pieces);
        for (size_t rank = 0; rank < world_size; ++rank) {
          if (limits[rank] == pieces) continue;
          EXPECT_GT((limits[rank] + 1) / speed[rank], least);
        }
      }
    }
  }
}

// Among placements whose every layer is optimal, the slowest rank's total is
// the least possible: searched over all placements of one to three layers.
TEST(ShareTotalsTest, BalancesLikeTheExhaustiveOptimumOverLayers) {
  for (size_t world_size = 1; world_size <= 3; ++world_size) {
    for (const std::vector<double>& speed : SpeedLists(world_size)) {
      for (int64_t pieces = 1; pieces <= 4; ++pieces) {
        std::vector<std::vector<int64_t>> optimal;  // of one layer
        const double least = LeastMaximum(pieces, speed);
        ForEachShare(pieces, world_size, [&](const auto& counts) {
          if (Slowest(counts, speed) == least) optimal.push_back(counts);
        });
        std::vector<std::vector<int64_t>> sums = {
            std::vector<int64_t>(world_size, 0)};
        for (int64_t num_layers = 1; num_layers <= 3; ++num_layers) {
          std::vector<std::vector<int64_t>> next;
          double least_total = std::numeric_limits<double>::infinity();
          for (const auto& sum : sums) {
            for (const auto& counts : optimal) {
              next.push_back(sum);
              for (size_t r = 0; r < world_size; ++r)
                next.back()[r] += counts[r];
              least_total = std::min(least_total, Slowest(next.back(), speed));
            }
          }
          sums = next;
          RankLoads loads = Unlimited(speed);
          const std::vector<int64_t> totals =
              ShareTotals({num_layers, pieces, 1}, ShareRule::kFastest, loads);
          EXPECT_EQ(Slowest(totals, speed), least_total)
              << world_size << " ranks, " << pieces << " pieces, " << num_layers
              << " layers";
        }
      }
    }
  }
}

TEST(ShareTotalsTest, TieGoesToTheRankWithFewerBytesThenToTheLower) {
  RankLoads loads = Unlimited({1.0, 1.0, 1.0});
  loads.used_bytes = {5, 4, 4};
  EXPECT_THAT(ShareTotals({1, 4, 1}, ShareRule::kFastest, loads),
              ElementsAre(1, 2, 1));
  EXPECT_THAT(loads.used_bytes, ElementsAre(6, 6, 5));
}

TEST(ShareTotalsTest, FullMemorySendsPiecesToOthersAndStopsWhenNoneHasRoom) {
  RankLoads loads = Unlimited({1.0, 1.0});
  loads.memory_bytes = {29, 100};
  EXPECT_THAT(ShareTotals({4, 2, 10}, ShareRule::kFastest, loads),
              ElementsAre(2, 6));
  EXPECT_THAT(ShareTotals({4, 2, 10}, ShareRule::kFastest, loads),
              ElementsAre(0, 4));
}

TEST(ShareTotalsTest, FullestRulePacksTheTightestRankFirst) {
  RankLoads loads = Unlimited({4.0, 1.0});
  loads.memory_bytes = {40, 25};
  EXPECT_THAT(ShareTotals({1, 5, 10}, ShareRule::kFullest, loads),
              ElementsAre(3, 2));
}

TEST(SpreadOverLayersTest, TwoRanksTakeTurnsWithTheOddPiece) {
  const auto spread = SpreadOverLayers({4, 3, 1}, {6, 6}, {});
  EXPECT_THAT(spread, ElementsAre(ElementsAre(2, 1), ElementsAre(1, 2),
                                  ElementsAre(2, 1), ElementsAre(1, 2)));
}

TEST(SpreadOverLayersTest, OddPieceAvoidsTheRankWithMoreOtherWork) {
  const auto spread =
      SpreadOverLayers({2, 7, 1}, {7, 7}, {{2.0, 1.0}, {1.0, 2.0}});
  EXPECT_THAT(spread, ElementsAre(ElementsAre(3, 4), ElementsAre(4, 3)));
}

// Each row and column sum holds, no count leaves floor..ceil, and a rank's
// share of any first layers is within one world's worth of its even pace.
TEST(SpreadOverLayersTest, RandomTotalsKeepSumsAndStayEven) {
  constexpr uint64_t kSeed = 20261124;
  std::mt19937_64 random(kSeed);
  for (int round = 0; round < 2000; ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << kSeed << " round " << round);
    const int64_t world_size = 1 + static_cast<int64_t>(random() % 9);
    const int64_t num_layers = 1 + static_cast<int64_t>(random() % 40);
    const int64_t per_layer = 1 + static_cast<int64_t>(random() % 12);
    std::vector<int64_t> totals(world_size, 0);
    for (int64_t i = 0; i < num_layers * per_layer; ++i) {
      ++totals[random() % world_size * (random() % 2)];  // rank 0 gets more
    }
    const auto spread =
        SpreadOverLayers({num_layers, per_layer, 1}, totals, {});
    ASSERT_EQ(static_cast<int64_t>(spread.size()), num_layers);
    std::vector<int64_t> sums(world_size, 0);
    for (int64_t layer = 0; layer < num_layers; ++layer) {
      EXPECT_EQ(std::accumulate(spread[layer].begin(), spread[layer].end(),
                                int64_t{0}),
                per_layer);
      for (int64_t rank = 0; rank < world_size; ++rank) {
        const int64_t floor = totals[rank] / num_layers;
        EXPECT_GE(spread[layer][rank], floor);
        EXPECT_LE(spread[layer][rank],
                  floor + (totals[rank] % num_layers != 0));
        sums[rank] += spread[layer][rank];
        EXPECT_LE(
            std::abs(sums[rank] * num_layers - totals[rank] * (layer + 1)),
            world_size * num_layers);
      }
    }
    EXPECT_EQ(sums, totals);
  }
}

}  // namespace
}  // namespace headwise
