#include "server/calibration/mask_check.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

HeadScores Scores() {
  HeadScores scores;
  scores.num_layers = 3;
  scores.num_heads = 8;
  scores.num_kv_heads = 4;
  scores.units.resize(12);
  scores.heads.resize(24);
  scores.heads[1] = 5;
  scores.heads[2] = 4;
  scores.heads[17] = 3;
  scores.heads[3] = 2;  // near the best
  return scores;
}

TEST(MaskCheckTest, RandomHeadsComeFromTheLayersOfTheBestAndAreNoneOfThem) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    Draws draws(seed, 0);
    const std::vector<int64_t> drawn = LayerMatchedHeads(Scores(), 3, draws);
    ASSERT_EQ(drawn.size(), 3u);
    EXPECT_EQ(std::set<int64_t>(drawn.begin(), drawn.end()).size(), 3u);
    EXPECT_EQ(drawn[0] / 8, 0);
    EXPECT_EQ(drawn[1] / 8, 0);
    EXPECT_EQ(drawn[2] / 8, 2);
    for (const int64_t head : drawn) {
      EXPECT_TRUE(head != 1 && head != 2 && head != 17 && head != 3) << head;
    }
  }
}

TEST(MaskCheckTest, ALayerOfNothingButBestHeadsBorrowsFromOthers) {
  HeadScores scores = Scores();
  for (size_t head = 0; head < 8; ++head) scores.heads[head] = 9;
  Draws draws(0, 0);
  const std::vector<int64_t> drawn = LayerMatchedHeads(scores, 8, draws);
  ASSERT_EQ(drawn.size(), 8u);
  for (const int64_t head : drawn) EXPECT_GE(head, 8);
}

TEST(MaskCheckTest, VariantsMaskNothingTheBestAndRandomOnes) {
  const Variants variants = MaskVariants(Scores(), 2, 7);
  ASSERT_EQ(variants.size(), static_cast<size_t>(kNumMaskVariants));
  EXPECT_EQ(variants[0], nullptr);
  EXPECT_EQ(variants[1]->heads[1].mask, HeadMask::kUniform);
  EXPECT_EQ(variants[1]->heads[2].mask, HeadMask::kUniform);
  for (size_t i = 1; i < variants.size(); ++i) {
    int masked = 0;
    for (const QueryHeadPlan& head : variants[i]->heads) {
      masked += head.mask == HeadMask::kUniform ? 1 : 0;
    }
    EXPECT_EQ(masked, 2);
  }
}

// One record: log-probability, accuracy and recall of each variant.
CalibrationReport ReportOf(AnswerQuality top, AnswerQuality random) {
  TestRecord record;
  record.values = {-1, 1, 1, top.logprob, top.accuracy, top.recall};
  for (int64_t i = 0; i < kNumRandomMasks; ++i) {
    record.values.insert(record.values.end(),
                         {random.logprob, random.accuracy, random.recall});
  }
  return ReportMasks({record}, 14);
}

TEST(MaskCheckTest, PassesAtThreeTimesTheRandomDropOfBoth) {
  EXPECT_TRUE(ReportOf({-4, 0, 0}, {-2, 0.75, 1}).passed);
  EXPECT_FALSE(ReportOf({-3.9, 0, 0}, {-2, 0.75, 1}).passed);
  EXPECT_FALSE(ReportOf({-4, 0.5, 0}, {-2, 0.75, 1}).passed);
  // Nothing lost is not "at least three times nothing".
  EXPECT_FALSE(ReportOf({-1, 1, 1}, {-1, 1, 1}).passed);
  EXPECT_TRUE(ReportOf({-4, 0, 0}, {-0.9, 1, 1}).passed);
}

}  // namespace
}  // namespace headwise
