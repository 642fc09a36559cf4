#include "client/cli/histogram.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::HasSubstr;
using testing::Not;

int64_t CountAll(const Histogram& histogram) {
  return std::accumulate(histogram.counts.begin(), histogram.counts.end(),
                         histogram.num_below + histogram.num_above);
}

TEST(HistogramTest, BinsHaveRoundEdges) {
  const Histogram histogram = MakeHistogram({0.11, 0.2, 0.31, 0.39, 0.9}, 10);
  EXPECT_DOUBLE_EQ(histogram.width, 0.1);
  EXPECT_DOUBLE_EQ(histogram.low, 0.1);
  EXPECT_EQ(histogram.counts.size(), 9);
  EXPECT_EQ(CountAll(histogram), 5);
}

TEST(HistogramTest, EachValueIsCountedOnce) {
  std::mt19937_64 random(20261126);
  for (const double scale : {1e-9, 1.0, 3e7}) {
    for (const int64_t max_bins : {2, 7, 40}) {
      std::normal_distribution<double> draw(scale, scale);
      std::vector<double> values(1000);
      for (double& value : values) value = draw(random);
      const Histogram histogram = MakeHistogram(values, max_bins);
      SCOPED_TRACE(testing::Message() << scale << " " << max_bins);
      EXPECT_EQ(CountAll(histogram), 1000);
      EXPECT_LE(histogram.num_below, 5);
      EXPECT_LE(histogram.num_above, 5);
      EXPECT_LE(histogram.counts.size(), static_cast<size_t>(max_bins));
      EXPECT_GE(histogram.counts.size(), 2);
    }
  }
}

TEST(HistogramTest, AFewFarValuesDoNotFlattenTheRest) {
  std::vector<double> values(1000);
  std::iota(values.begin(), values.end(), 0.0);
  values.push_back(1e9);
  values.push_back(-1e9);
  const Histogram histogram = MakeHistogram(values, 40);
  EXPECT_LT(histogram.high(), 1100);
  EXPECT_GE(histogram.num_above, 1);
  EXPECT_GE(histogram.num_below, 1);
}

TEST(HistogramTest, EqualValuesAndNoneAtAllAreHistogramsToo) {
  EXPECT_TRUE(MakeHistogram({}, 40).counts.empty());
  EXPECT_TRUE(
      MakeHistogram({std::nan(""), std::numeric_limits<double>::infinity()}, 40)
          .counts.empty());
  for (const double value : {0.0, 2.5, -1e-200, 1e299, 5e-324}) {
    const Histogram histogram = MakeHistogram({value, value}, 40);
    SCOPED_TRACE(value);
    EXPECT_EQ(histogram.counts, std::vector<int64_t>({2}));
    EXPECT_GT(histogram.width, 0);
  }
}

TEST(HistogramTest, ThePictureSaysWhatItLeavesOut) {
  const Histogram histogram = {.low = 0,
                               .width = 0.5,
                               .counts = {1, 0, 20'000},
                               .num_below = 0,
                               .num_above = 1234};
  const std::string picture = RenderHistogram(histogram, {.label = "a < b"});
  EXPECT_THAT(picture, HasSubstr("Histogram of a &lt; b, 20,001 documents"));
  EXPECT_THAT(picture, HasSubstr("<title>0 to 0.5: 1 document</title>"));
  EXPECT_THAT(picture, HasSubstr("<title>1 to 1.5: 20,000 documents</title>"));
  EXPECT_THAT(picture, HasSubstr("Not drawn: 0 below and 1,234 above."));
  EXPECT_THAT(picture, Not(HasSubstr("class=\"selected\"")));
}

TEST(HistogramTest, TheSelectionCutsABar) {
  const Histogram histogram = {.low = 0, .width = 1, .counts = {2, 4, 2}};
  const std::string picture =
      RenderHistogram(histogram, {.label = "score", .selected_from = 1.5});
  // 368 wide from 44 on, so the bar of [1, 2) is cut at 228.
  EXPECT_THAT(picture, HasSubstr("<rect class=\"bar\" x=\"167.17\""));
  EXPECT_THAT(picture, HasSubstr("<rect class=\"selected\" x=\"228.00\""));
  EXPECT_THAT(picture, HasSubstr("selected from 1.5"));
}

TEST(HistogramTest, NothingIsSaidInWords) {
  EXPECT_EQ(RenderHistogram({}, {.label = "score"}),
            "<p class=\"note\">No values of score.</p>\n");
}

}  // namespace
}  // namespace headwise
