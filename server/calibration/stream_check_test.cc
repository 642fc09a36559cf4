#include "server/calibration/stream_check.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

const UnitPolicy kRest = {
    .kind = PolicyKind::kStreaming, .num_sinks = 4, .window = 64};

HeadScores Scores() {
  HeadScores scores;
  scores.num_layers = 3;
  scores.num_heads = 4;
  scores.num_kv_heads = 2;
  scores.units = {5, 0, 4, 1, 0, 3};
  return scores;
}

std::vector<int> Streaming(const HeadPlan& plan) {
  std::vector<int> units;
  for (size_t i = 0; i < plan.units.size(); ++i) {
    if (plan.units[i] == kRest) units.push_back(static_cast<int>(i));
  }
  return units;
}

TEST(StreamCheckTest, VariantsStreamTheWorseTheBetterAndRandomHalves) {
  const Variants variants = StreamVariants(Scores(), kRest, 3);
  ASSERT_EQ(variants.size(), static_cast<size_t>(kNumStreamVariants));
  EXPECT_EQ(variants[0], nullptr);
  EXPECT_THAT(Streaming(*variants[1]), testing::ElementsAre(1, 3, 4));
  EXPECT_THAT(Streaming(*variants[2]), testing::ElementsAre(0, 2, 5));
  bool differ = false;
  for (size_t i = 3; i < variants.size(); ++i) {
    EXPECT_EQ(Streaming(*variants[i]).size(), 3u);
    differ |= Streaming(*variants[i]) != Streaming(*variants[3]);
  }
  EXPECT_TRUE(differ);
}

bool Passed(double worse, double better, double random, double last_random) {
  TestRecord record;
  const auto add = [&](double logprob) {
    record.values.insert(record.values.end(), {logprob, 1, 1});
  };
  add(-1);
  add(-1 - worse);
  add(-1 - better);
  for (int64_t i = 0; i + 1 < kNumRandomHalves; ++i) add(-1 - random);
  add(-1 - last_random);
  return ReportStreams({record}).passed;
}

TEST(StreamCheckTest, PassesAtATenthOfRandomWithTheBetterHalfWorst) {
  EXPECT_TRUE(Passed(0.0625, 2, 1, 1));
  EXPECT_FALSE(Passed(0.125, 2, 1, 1));
  EXPECT_FALSE(Passed(0.0625, 2, 1, 3));
  // Where streaming costs nothing, nothing is shown.
  EXPECT_FALSE(Passed(0, 0, 0, 0));
}

TEST(StreamCheckTest, RecallCountsTokensAsABag) {
  EXPECT_EQ(TokenRecall({1, 2, 2, 3}, {2, 3, 9}), 0.5);
  EXPECT_EQ(TokenRecall({1, 2}, {2, 1, 1}), 1.0);
  EXPECT_EQ(TokenRecall({1}, {}), 0.0);
}

}  // namespace
}  // namespace headwise
