#include "worker/attention/chunk_choice.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using ::testing::ElementsAre;

std::vector<int64_t> Choose(int64_t own, int64_t num_chunks,
                            const std::vector<float>& scores) {
  std::vector<int64_t> chosen;
  ChooseChunks(own, num_chunks, scores, &chosen);
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

TEST(ChunkChoiceTest, OfEqualScoresTheLowerIndexWins) {
  EXPECT_THAT(Choose(6, 4, {1, 2, 2, 2}), ElementsAre(0, 2, 5, 6));
}

TEST(ChunkChoiceTest, NanNeverWins) {
  EXPECT_THAT(Choose(5, 4, {NAN, -INFINITY, NAN}), ElementsAre(0, 2, 4, 5));
}

TEST(ChunkChoiceTest, MappedPositionsStayBelowTheWindowAndLeaveNoGap) {
  const int64_t chunk_len = 64;
  const int64_t num_chunks = 5;
  for (int64_t t = 0; t < 64 * 20; ++t) {
    const int64_t own = t / chunk_len;
    const ChunkCandidates from = CandidatesOf(own, num_chunks);
    std::vector<int64_t> chosen;
    ChooseChunks(own, num_chunks,
                 std::vector<float>(from.end - from.begin, 1.0f), &chosen);
    const auto count = static_cast<int64_t>(chosen.size());
    ASSERT_EQ(count, std::min(own + 1, num_chunks));
    // The query's own key is at distance 0.
    EXPECT_EQ(MappedPosition(count, count - 1, chunk_len, t % chunk_len),
              t % chunk_len);
    EXPECT_LT(MappedPosition(count, 0, chunk_len, t % chunk_len),
              num_chunks * chunk_len);
  }
}

}  // namespace
}  // namespace headwise
