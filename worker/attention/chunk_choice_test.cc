#include "worker/attention/chunk_choice.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using ::testing::ElementsAre;

constexpr int64_t kChunkLen = 64;

UnitPolicy Policy(PolicyKind kind, int64_t num_chunks) {
  return {.kind = kind, .chunk_len = kChunkLen, .num_chunks = num_chunks};
}

std::vector<int64_t> Choose(int64_t own, int64_t num_chunks,
                            const std::vector<float>& scores,
                            PolicyKind kind = PolicyKind::kLongHeads) {
  std::vector<int64_t> chosen;
  ChooseChunks(Policy(kind, num_chunks), own, scores, &chosen);
  return chosen;
}

TEST(ChunkChoiceTest, WhileAllChunksFitAllAreSeen) {
  EXPECT_THAT(Choose(0, 4, {}), ElementsAre(0));
  EXPECT_THAT(Choose(3, 4, {}), ElementsAre(0, 1, 2, 3));
}

TEST(ChunkChoiceTest, FirstPreviousAndOwnAreAlwaysSeen) {
  // Candidates are chunks 1, 2, 3.
  EXPECT_THAT(Choose(5, 3, {9, 9, 9}), ElementsAre(0, 4, 5));
  EXPECT_THAT(Choose(5, 4, {1, 3, 2}), ElementsAre(0, 2, 4, 5));
  EXPECT_THAT(Choose(5, 5, {1, 3, 2}), ElementsAre(0, 2, 3, 4, 5));
}

TEST(ChunkChoiceTest, LandmarksAreChosenAmongAllOtherChunks) {
  constexpr PolicyKind kKind = PolicyKind::kLandmark;
  EXPECT_THAT(Choose(2, 3, {}, kKind), ElementsAre(0, 1, 2));
  EXPECT_THAT(Choose(5, 3, {1, 5, 2, 4, 3}, kKind), ElementsAre(1, 3, 5));
  EXPECT_THAT(Choose(5, 5, {1, 5, 2, 4, 3}, kKind), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_THAT(Choose(4, 3, {7, NAN, 7, 7}, kKind), ElementsAre(0, 2, 4));
}

TEST(ChunkChoiceTest, OfEqualScoresTheLowerIndexWins) {
  EXPECT_THAT(Choose(6, 4, {1, 2, 2, 2}), ElementsAre(0, 2, 5, 6));
}

// Against all of them sorted, with many equals and some that are no numbers.
TEST(ChunkChoiceTest, OfManyTheBestAreChosen) {
  uint32_t state = 1;
  for (int64_t own = 5; own < 300; own += 7) {
    for (const int64_t num_chunks : {3, 4, 5, 17}) {
      if (own + 1 <= num_chunks) continue;
      std::vector<float> scores;
      for (int64_t c = 0; c < own - 2; ++c) {
        state = state * 1664525 + 1013904223;
        const uint32_t draw = state >> 16;
        scores.push_back(draw % 11 == 0 ? NAN : static_cast<float>(draw % 40));
      }
      std::vector<int64_t> order(scores.size());
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        if (std::isnan(scores[a])) return false;
        return std::isnan(scores[b]) || scores[a] > scores[b];
      });
      std::vector<int64_t> expected = {0, own - 1, own};
      for (int64_t i = 0; i < num_chunks - 3; ++i) {
        expected.push_back(order[i] + 1);
      }
      std::sort(expected.begin(), expected.end());
      EXPECT_EQ(Choose(own, num_chunks, scores), expected) << own;
    }
  }
}

TEST(ChunkChoiceTest, NanNeverWins) {
  EXPECT_THAT(Choose(5, 4, {NAN, -INFINITY, NAN}), ElementsAre(0, 2, 4, 5));
}

TEST(ChunkChoiceTest, MappedPositionsStayBelowTheWindowAndLeaveNoGap) {
  const int64_t chunk_len = kChunkLen;
  const int64_t num_chunks = 5;
  const UnitPolicy policy = Policy(PolicyKind::kLongHeads, num_chunks);
  for (int64_t t = 0; t < 64 * 20; ++t) {
    const int64_t own = t / chunk_len;
    const ChunkCandidates from = CandidatesOf(policy, own);
    std::vector<int64_t> chosen;
    ChooseChunks(policy, own, std::vector<float>(from.end - from.begin, 1.0f),
                 &chosen);
    const auto count = static_cast<int64_t>(chosen.size());
    ASSERT_EQ(count, std::min(own + 1, num_chunks));
    // The query's own key is at distance 0.
    EXPECT_EQ(MappedPosition(count, count - 1, chunk_len, t % chunk_len),
              t % chunk_len);
    EXPECT_LT(MappedPosition(count, 0, chunk_len, t % chunk_len),
              num_chunks * chunk_len);
  }
}

// Chunks 8 and 9 are the last ones before 10; places are 0, 1, 2, and 3 for the
// query's own.
TEST(ChunkChoiceTest, RecentLandmarksStandWhereTheyAreAndOlderOnesBeforeThem) {
  EXPECT_EQ(ScoringSlot(10, 3, 0), 0);
  EXPECT_EQ(ScoringSlot(10, 3, 7), 0);
  EXPECT_EQ(ScoringSlot(10, 3, 8), 1);
  EXPECT_EQ(ScoringSlot(10, 3, 9), 2);
  EXPECT_EQ(ScoringSlot(10, 3, 10), 3);
  const auto slots = [](int64_t a, int64_t b) {
    return std::vector<int64_t>{AttendedSlot(10, 3, a, 0),
                                AttendedSlot(10, 3, b, 1),
                                AttendedSlot(10, 3, 10, 2)};
  };
  EXPECT_THAT(slots(2, 5), ElementsAre(0, 1, 3));
  EXPECT_THAT(slots(2, 8), ElementsAre(0, 2, 3));
  EXPECT_THAT(slots(2, 9), ElementsAre(0, 2, 3));
  EXPECT_THAT(slots(8, 9), ElementsAre(1, 2, 3));
}

TEST(ChunkChoiceTest, WhileAllFitLandmarksStandAtTruePositions) {
  for (int64_t own = 0; own < 6; ++own) {
    for (int64_t chunk = 0; chunk <= own; ++chunk) {
      const int64_t slot = AttendedSlot(own, own + 1, chunk, chunk);
      EXPECT_EQ(slot, ScoringSlot(own, own + 1, chunk));
      EXPECT_EQ(MappedPosition(own + 2, slot, kChunkLen, 7),
                (own - chunk) * kChunkLen + 7);
    }
  }
}

}  // namespace
}  // namespace headwise
