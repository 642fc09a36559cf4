#include "server/selection/quantile_sketch.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace headwise {
namespace {

constexpr uint64_t kSeed = 20261126;

// Of both signs, over 20 powers of ten, some of them equal.
std::vector<double> Values(int count) {
  std::mt19937_64 random(kSeed);
  std::uniform_real_distribution<double> exponent(-12.0, 8.0);
  std::vector<double> values;
  for (int i = 0; i < count; ++i) {
    const double size = std::pow(10.0, exponent(random));
    values.push_back(random() % 3 == 0 ? -size : size);
    if (random() % 8 == 0) values.back() = 0.0;
    if (random() % 8 == 0) values.back() = values[random() % values.size()];
  }
  return values;
}

QuantileSketch SketchOf(const std::vector<double>& values) {
  QuantileSketch sketch;
  for (const double value : values) sketch.Add(value);
  return sketch;
}

// The definition: of n sorted values number ceil(f n), from 1.
double ExactQuantile(std::vector<double> values, double fraction) {
  std::sort(values.begin(), values.end());
  const auto place = static_cast<int64_t>(
      std::ceil(fraction * static_cast<double>(values.size())));
  return values[std::max<int64_t>(place, 1) - 1];
}

TEST(QuantileSketchTest, IsWithinItsBoundOfTheExactQuantile) {
  for (const int count : {1, 2, 3, 10, 4'096}) {
    const std::vector<double> values = Values(count);
    const QuantileSketch sketch = SketchOf(values);
    for (int i = 0; i <= 256; ++i) {
      const double fraction = i / 256.0;  // products are exact
      const double exact = ExactQuantile(values, fraction);
      const double bound =
          std::max(std::fabs(exact) * QuantileSketch::kRelativeError, 0x1p-30);
      EXPECT_NEAR(sketch.Quantile(fraction), exact, bound)
          << "count=" << count << " fraction=" << fraction;
    }
  }
}

TEST(QuantileSketchTest, EndsCountAndMeanAreExact) {
  const std::vector<double> values = Values(1'000);
  const QuantileSketch sketch = SketchOf(values);
  EXPECT_EQ(sketch.count(), 1'000);
  const auto [min, max] = std::minmax_element(values.begin(), values.end());
  EXPECT_EQ(sketch.min(), *min);
  EXPECT_EQ(sketch.max(), *max);
  EXPECT_EQ(sketch.Quantile(0.0), *min);
  EXPECT_EQ(sketch.Quantile(1.0), *max);
  long double sum = 0.0L;
  for (const double value : values) sum += value;
  // Each value is off by 2^-41 at most; the last double of the mean's size.
  const auto mean = static_cast<double>(sum / 1'000);
  EXPECT_NEAR(sketch.mean(), mean, 0x1p-41 + std::fabs(mean) * 0x1p-51);
}

TEST(QuantileSketchTest, NeitherOrderNorGroupingIsSeen) {
  std::vector<double> values = Values(3'000);
  values.push_back(-0.0);
  const QuantileSketch whole = SketchOf(values);
  std::mt19937_64 random(kSeed);
  for (int round = 0; round < 20; ++round) {
    std::shuffle(values.begin(), values.end(), random);
    std::vector<QuantileSketch> parts(1 + random() % 7);
    for (const double value : values) parts[random() % parts.size()].Add(value);
    QuantileSketch merged;
    for (const QuantileSketch& part : parts) merged.Merge(part);
    EXPECT_EQ(merged, whole) << "round=" << round << " seed=" << kSeed;
    EXPECT_EQ(merged.ToText(), whole.ToText());
  }
}

TEST(QuantileSketchTest, TheSignOfZeroIsNotKept) {
  EXPECT_EQ(SketchOf({0.0, -0.0}).ToText(), SketchOf({-0.0, 0.0}).ToText());
  EXPECT_FALSE(std::signbit(SketchOf({-0.0}).min()));
}

TEST(QuantileSketchTest, AnIntegerProductThatWasRoundedUpIsThatInteger) {
  QuantileSketch sketch;
  for (int i = 1; i <= 100; ++i) sketch.Add(i);
  ASSERT_GT(0.07 * 100, 7.0);
  EXPECT_NEAR(sketch.Quantile(0.07), 7.0, 7.0 / 128);
}

TEST(QuantileSketchTest, ValuesOutsideTheBucketsKeepTheEndsOnly) {
  const QuantileSketch far = SketchOf({1e300, -1e300, 1e200, 5e-324});
  EXPECT_EQ(far.min(), -1e300);
  EXPECT_EQ(far.max(), 1e300);
  EXPECT_EQ(far.Quantile(0.5), 0.0);
  EXPECT_EQ(far.Quantile(0.75), 0x1p30);  // 1e200
  EXPECT_EQ(far.mean(), 0x1p28);
}

TEST(QuantileSketchTest, MergingNothingChangesNothing) {
  const QuantileSketch some = SketchOf({-3.0, 4.0});
  QuantileSketch merged = some;
  merged.Merge(QuantileSketch());
  EXPECT_EQ(merged, some);
  QuantileSketch fresh;
  fresh.Merge(some);
  EXPECT_EQ(fresh, some);
  EXPECT_EQ(fresh.min(), -3.0);
}

TEST(QuantileSketchTest, TextIsReadBack) {
  for (const std::vector<double>& values : {std::vector<double>(),
                                            {0.0},
                                            {-1.5, 2.5},
                                            {1e300, -1e300, 5e-324},
                                            Values(5'000)}) {
    const QuantileSketch sketch = SketchOf(values);
    const auto read = QuantileSketch::FromText(sketch.ToText());
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, sketch);
  }
  EXPECT_EQ(SketchOf({1.0}).ToText(), "1 1 1 1 0 1099511627776 1921:1");
}

TEST(QuantileSketchTest, OtherTextIsRefused) {
  const std::string text = SketchOf({-1.0, 1.0, 1.0}).ToText();
  ASSERT_EQ(text, "1 3 -1 1 0 1099511627776 -1921:1 1921:2");
  for (const char* other :
       {"", "1", "2 3 -1 1 0 1099511627776 -1921:1 1921:2",
        "1 4 -1 1 0 1099511627776 -1921:1 1921:2",
        "1 3 1 -1 0 1099511627776 -1921:1 1921:2",
        "1 3 nan 1 0 1099511627776 -1921:1 1921:2",
        "1 3 -1 1 0 1099511627776 1921:2 -1921:1",
        "1 3 -1 1 0 1099511627776 -1921:1 1921:1 1921:1",
        "1 3 -1 1 0 1099511627776 -1921:1 1921:3",
        "1 3 -1 1 0 1099511627776 -1921:4 1921:-1",
        "1 3 -1 1 0 1099511627776 -1921:1 1920:2",
        "1 3 -1 1 0 1099511627776 -1921:1 9999:2",
        "1 3 -1 1 0 1099511627776 -1921:1  1921:2",
        "1 3 -1 1 0 1099511627776 -1921 1921:2", "1 0 1 2 0 0",
        "1 3 -1.0 1 0 1099511627776 -1921:1 1921:2"}) {
    EXPECT_EQ(QuantileSketch::FromText(other).status().code(),
              absl::StatusCode::kInvalidArgument)
        << other;
  }
}

TEST(QuantileSketchTest, NumberOfBucketsIsBounded) {
  std::mt19937_64 random(kSeed);
  QuantileSketch sketch;
  for (int i = 0; i < 200'000; ++i) {
    const double value = std::bit_cast<double>(random());
    if (std::isfinite(value)) sketch.Add(value);
  }
  const std::string text = sketch.ToText();
  EXPECT_LE(std::count(text.begin(), text.end(), ':'), 7'683);
}

}  // namespace
}  // namespace headwise
