#include "model/head_scores/head_scores.h"

#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::DoubleEq;
using testing::ElementsAre;
using testing::HasSubstr;

HeadScores Scores(std::vector<double> units) {
  HeadScores scores;
  scores.model_sha256 = std::string(64, 'a');
  scores.method = "m";
  scores.num_layers = 2;
  scores.num_heads = 4;
  scores.num_kv_heads = 2;
  scores.units = std::move(units);
  return scores;
}

TEST(HeadScoresTest, AUnitScoresAsTheBestOfItsHeads) {
  EXPECT_THAT(MaxOverGroups({0.1, 0.5, 0.2, 0.0, -1, -2}, 3),
              ElementsAre(0.5, 0.0));
}

TEST(HeadScoresTest, EqualScoresKeepTheirOrder) {
  EXPECT_THAT(RankByScore({0, 2, 0, 3, 0}), ElementsAre(3, 1, 0, 2, 4));
}

TEST(HeadScoresTest, OverlapCountsCommonHeadsOfTheBest) {
  EXPECT_EQ(TopOverlap({4, 3, 2, 1}, {3, 4, 1, 2}, 2), 1.0);
  EXPECT_EQ(TopOverlap({4, 3, 2, 1}, {4, 1, 3, 2}, 2), 0.5);
  EXPECT_EQ(TopOverlap({4, 3, 2, 1}, {1, 2, 3, 4}, 2), 0.0);
}

TEST(HeadScoresTest, CorrelationOfRanksIsOneForAnyRisingMap) {
  EXPECT_DOUBLE_EQ(RankCorrelation({1, 2, 3, 4}, {1, 10, 100, 1000}), 1.0);
  EXPECT_DOUBLE_EQ(RankCorrelation({1, 2, 3, 4}, {4, 3, 2, 1}), -1.0);
  EXPECT_EQ(RankCorrelation({1, 2, 3}, {5, 5, 5}), 0.0);
}

TEST(HeadScoresTest, ScoresOfTheWrongShapeOrNotFiniteAreRefusedByName) {
  HeadScores scores = Scores({1, 2, 3});
  EXPECT_THAT(std::string(CheckHeadScores(scores).message()),
              HasSubstr("units has 3 numbers, must be 4"));
  scores = Scores({1, 2, 3, std::numeric_limits<double>::infinity()});
  EXPECT_THAT(std::string(CheckHeadScores(scores).message()),
              HasSubstr("units[3]"));
  scores = Scores({1, 2, 3, 4});
  scores.num_kv_heads = 3;
  EXPECT_THAT(std::string(CheckHeadScores(scores).message()),
              HasSubstr("num_kv_heads is 3"));
  scores.num_kv_heads = 2;
  scores.details["x"] = {1, 2};
  EXPECT_THAT(std::string(CheckHeadScores(scores).message()),
              HasSubstr("details.x has 2"));
}

TEST(HeadScoresTest, JoinedScoresAreMeanRanksWithTiesShared) {
  // Ranks 0 1 2 3, and 1 (shared by two: 1.5) ...
  const HeadScores joined =
      *JoinScores({Scores({9, 8, 7, 6}), Scores({0, 5, 0, 0})});
  // Of the second: unit 1 has rank 0, the others share (1 + 2 + 3) / 3 = 2.
  EXPECT_THAT(joined.units,
              ElementsAre(DoubleEq(1 - 1.0 / 3), DoubleEq(1 - 0.5 / 3),
                          DoubleEq(1 - 2.0 / 3), DoubleEq(1 - 2.5 / 3)));
  EXPECT_EQ(joined.method, "m+m");
}

TEST(HeadScoresTest, HeadsAreJoinedOnlyIfAllKnowThem) {
  HeadScores with_heads = Scores({1, 2, 3, 4});
  with_heads.heads = {8, 7, 6, 5, 4, 3, 2, 1};
  EXPECT_TRUE(JoinScores({with_heads, Scores({1, 2, 3, 4})})->heads.empty());
  EXPECT_EQ(JoinScores({with_heads, with_heads})->heads[0], 1.0);
}

TEST(HeadScoresTest, ScoresOfTwoModelsAreNotJoined) {
  HeadScores other = Scores({1, 2, 3, 4});
  other.model_sha256 = std::string(64, 'b');
  EXPECT_EQ(JoinScores({Scores({1, 2, 3, 4}), other}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(JoinScores({}).ok());
}

}  // namespace
}  // namespace headwise
