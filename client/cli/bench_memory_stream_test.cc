#include "client/cli/bench_memory_stream.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

std::vector<float> FillerKeys(const MemoryStream& stream, int64_t first,
                              int64_t count) {
  std::vector<float> rows(static_cast<size_t>(count * stream.row_floats()));
  stream.FillerKeys(first, count, rows.data());
  return rows;
}

double Dot(const float* a, const float* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += double{a[i]} * b[i];
  return sum;
}

TEST(MemoryStreamTest, RowsDoNotDependOnHowTheyAreAskedFor) {
  const MemoryStream stream(7, /*num_heads=*/2, /*head_dim=*/32);
  const std::vector<float> all = FillerKeys(stream, 0, 10);
  for (int64_t first = 0; first < 10; first += 5) {
    EXPECT_THAT(
        FillerKeys(stream, first, 5),
        testing::ElementsAreArray(all.data() + first * stream.row_floats(),
                                  static_cast<size_t>(5 * 64)));
  }
}

// The cosine of random directions has variance 1 / head_dim: over n pairs the
// mean is within 5 / sqrt(n head_dim), the mean square within 5 sqrt(2 / n) of
// itself.
TEST(MemoryStreamTest, RowsAreUnitVectorsInRandomDirections) {
  constexpr int64_t kDim = 64, kRows = 4096;
  const MemoryStream stream(1, /*num_heads=*/1, kDim);
  const std::vector<float> keys = FillerKeys(stream, int64_t{1} << 40, kRows);
  std::vector<float> values(keys.size());
  stream.FillerValues(int64_t{1} << 40, kRows, values.data());
  double sum = 0, squares = 0;
  for (int64_t r = 0; r < kRows; ++r) {
    const float* key = keys.data() + r * kDim;
    EXPECT_NEAR(Dot(key, key, kDim), 1.0, 1e-6);
    const double cosine = Dot(key, values.data() + r * kDim, kDim);
    sum += cosine;
    squares += cosine * cosine;
  }
  EXPECT_NEAR(sum / kRows, 0, 5 / std::sqrt(double{kRows} * kDim));
  EXPECT_NEAR(squares / kRows * kDim, 1.0, 5 * std::sqrt(2.0 / kRows));
}

TEST(MemoryStreamTest, EachHeadHasAUnitVectorOfItsOwn) {
  const MemoryStream stream(3, /*num_heads=*/3, /*head_dim=*/16);
  std::vector<float> row(48);
  stream.Candidates(5, 1, row.data());
  for (int64_t head = 0; head < 3; ++head) {
    EXPECT_NEAR(Dot(row.data() + 16 * head, row.data() + 16 * head, 16), 1.0,
                1e-6);
    EXPECT_LT(std::abs(Dot(row.data() + 16 * head,
                           row.data() + 16 * ((head + 1) % 3), 16)),
              0.99);
  }
}

TEST(MemoryStreamTest, MemoriesBeginWithWeightsThatHaveAGradient) {
  const MemoryStream stream(1, 1, 16);
  MemorySpec spec = {.head_dim = 16, .num_layers = 1, .hidden_dim = 0};
  EXPECT_THAT(stream.InitialWeights(spec, 0), testing::Each(0.0f));
  spec = {.head_dim = 16, .num_layers = 2, .hidden_dim = 32};
  const std::vector<float> weights = stream.InitialWeights(spec, 0);
  ASSERT_EQ(weights.size(), 1024u);
  EXPECT_THAT(weights, testing::Each(testing::AllOf(testing::Ge(-0.3536f),
                                                    testing::Le(0.3536f))));
  EXPECT_GT(Dot(weights.data(), weights.data(), 1024), 30);  // 42.7 expected
  EXPECT_NE(weights, stream.InitialWeights(spec, 1));
}

}  // namespace
}  // namespace headwise
