#include "model/head_scores/plan_from_scores.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::HasSubstr;

HeadScores Scores() {
  HeadScores scores;
  scores.model_sha256 = std::string(64, 'a');
  scores.method = "retrieval";
  scores.num_layers = 2;
  scores.num_heads = 4;
  scores.num_kv_heads = 2;
  scores.units = {0, 7, 0, 3};
  scores.heads = {0, 0, 7, 1, 0, 0, 2, 3};
  return scores;
}

TEST(PlanFromScoresTest, TheBestUnitsStayFullAndTiesGoByOrder) {
  PlanRule rule;
  rule.fraction = 0.75;
  const HeadPlan plan = *PlanFromScores(Scores(), rule);
  ASSERT_EQ(plan.units.size(), 4u);
  EXPECT_EQ(plan.units[0].kind, PolicyKind::kFull);
  EXPECT_EQ(plan.units[1].kind, PolicyKind::kFull);
  EXPECT_EQ(plan.units[2], rule.rest);
  EXPECT_EQ(plan.units[3].kind, PolicyKind::kFull);
  EXPECT_EQ(plan.model_sha256, std::string(64, 'a'));
  EXPECT_EQ(plan.origin, "calibrated by retrieval");
}

TEST(PlanFromScoresTest, TheBestUnitsMayHaveAPolicyToo) {
  PlanRule rule;
  rule.fraction = 0.5;
  rule.kept = {
      .kind = PolicyKind::kLongHeads, .chunk_len = 256, .num_chunks = 8};
  const HeadPlan plan = *PlanFromScores(Scores(), rule);
  EXPECT_EQ(plan.units, (std::vector<UnitPolicy>{rule.rest, rule.kept,
                                                 rule.rest, rule.kept}));
}

TEST(PlanFromScoresTest, AFractionIsRoundedHalfUp) {
  EXPECT_EQ(CountOfFraction(0.05, 270), 14);  // 13.5
  EXPECT_EQ(CountOfFraction(0.14, 90), 13);   // 12.6
  EXPECT_EQ(CountOfFraction(0.0, 90), 0);
  EXPECT_EQ(CountOfFraction(1.0, 90), 90);
}

TEST(PlanFromScoresTest, AllOrNoneMayStayFull) {
  PlanRule rule;
  rule.fraction = 1;
  EXPECT_EQ(PlanFromScores(Scores(), rule)->units, std::vector<UnitPolicy>(4));
  rule.fraction = 0;
  rule.rest = {.kind = PolicyKind::kRazor, .num_sinks = 4, .window = 128};
  EXPECT_EQ(PlanFromScores(Scores(), rule)->units,
            std::vector<UnitPolicy>(4, rule.rest));
}

TEST(PlanFromScoresTest, MasksTheBestQueryHeadsAndNoUnit) {
  PlanRule rule;
  rule.use = PlanRule::Use::kMaskHeads;
  rule.fraction = 0.25;
  rule.mask = HeadMask::kZero;
  const HeadPlan plan = *PlanFromScores(Scores(), rule);
  for (size_t i = 0; i < plan.heads.size(); ++i) {
    EXPECT_EQ(plan.heads[i].mask,
              i == 2 || i == 7 ? HeadMask::kZero : HeadMask::kNone)
        << i;
  }
  EXPECT_EQ(plan.units, std::vector<UnitPolicy>(4));
}

TEST(PlanFromScoresTest, CalibratesHeadsThatGain) {
  PlanRule rule;
  rule.use = PlanRule::Use::kCalibrateHeads;
  HeadScores scores = Scores();
  scores.heads[0] = -1;
  const HeadPlan plan = *PlanFromScores(scores, rule);
  EXPECT_EQ(plan.heads[0], QueryHeadPlan());
  EXPECT_EQ(plan.heads[1], QueryHeadPlan());
  EXPECT_EQ(plan.heads[2].sink_beta, 0.4f);
  EXPECT_EQ(plan.heads[2].sink_threshold, 0.1f);
}

TEST(PlanFromScoresTest, RulesOutOfRangeAreRefusedByName) {
  PlanRule rule;
  for (const double fraction : {-0.1, 1.1, std::nan("")}) {
    rule.fraction = fraction;
    EXPECT_THAT(std::string(PlanFromScores(Scores(), rule).status().message()),
                HasSubstr("fraction is "));
  }
  rule = {};
  rule.rest.window = 0;
  EXPECT_THAT(std::string(PlanFromScores(Scores(), rule).status().message()),
              HasSubstr("window"));
  rule = {};
  rule.kept.kind = PolicyKind::kLongHeads;
  EXPECT_THAT(std::string(PlanFromScores(Scores(), rule).status().message()),
              HasSubstr("chunk_len"));
  rule = {};
  rule.use = PlanRule::Use::kMaskHeads;
  rule.mask = HeadMask::kNone;
  EXPECT_FALSE(PlanFromScores(Scores(), rule).ok());
  rule.mask = HeadMask::kZero;
  HeadScores units_only = Scores();
  units_only.heads.clear();
  EXPECT_THAT(std::string(PlanFromScores(units_only, rule).status().message()),
              HasSubstr("know no query heads"));
  rule.use = PlanRule::Use::kCalibrateHeads;
  rule.sink_threshold = 0;
  EXPECT_FALSE(PlanFromScores(Scores(), rule).ok());
}

}  // namespace
}  // namespace headwise
