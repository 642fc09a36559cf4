#include "server/neural_memory/initial_weights.h"

#include <algorithm>
#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/neural_memory/memory_cluster_fixture.h"

namespace headwise {
namespace {

using testing::HasSubstr;

TEST(DrawMemoryWeightsTest, IsUniformWithinXaviersLimitAndGammaIsZero) {
  const MemorySpec spec = TestMemorySpec();
  const std::vector<float> weights = DrawMemoryWeights(spec, 7, 0);
  ASSERT_EQ(static_cast<int64_t>(weights.size()), spec.num_weights());
  const double limit = std::sqrt(6.0 / (16 + 32));
  double squares = 0.0;
  const int64_t num_drawn = 2 * 16 * 32;
  for (int64_t i = 0; i < num_drawn; ++i) {
    EXPECT_LE(std::fabs(weights[i]), limit);
    squares += double{weights[i]} * weights[i];
  }
  // The variance of a uniform draw is limit^2 / 3; 1024 draws are within 15 %
  // (5 of their standard deviations).
  EXPECT_NEAR(squares / num_drawn, limit * limit / 3, 0.15 * limit * limit / 3);
  EXPECT_TRUE(std::all_of(weights.begin() + num_drawn, weights.end(),
                          [](float x) { return x == 0.0f; }));
}

TEST(DrawMemoryWeightsTest, DependsOnHeadAndSeedAlone) {
  const MemorySpec spec = TestMemorySpec();
  EXPECT_EQ(DrawMemoryWeights(spec, 7, 3), DrawMemoryWeights(spec, 7, 3));
  EXPECT_NE(DrawMemoryWeights(spec, 7, 3), DrawMemoryWeights(spec, 7, 4));
  EXPECT_NE(DrawMemoryWeights(spec, 7, 3), DrawMemoryWeights(spec, 8, 3));
}

TEST(CheckMemoryStartTest, WeightsThatAreNotOfTheSpecAreRefusedByPlace) {
  const MemoryConfig config = TestMemoryConfig(2);
  const int64_t num_weights = config.spec.num_weights();
  std::vector<float> weights(2 * num_weights, 0.5f);
  std::string bytes = BytesOfFloats(weights);
  EXPECT_TRUE(CheckMemoryStart(config, {0, &bytes}).ok());
  EXPECT_EQ(InitialMemoryWeights(config, {0, &bytes}, 1),
            std::vector<float>(num_weights, 0.5f));

  bytes.pop_back();
  EXPECT_THAT(std::string(CheckMemoryStart(config, {0, &bytes}).message()),
              HasSubstr("weights: 8319 bytes; 2 heads of 1040 fp32 weights "
                        "have 8320"));
  weights[num_weights + 9] = NAN;
  bytes = BytesOfFloats(weights);
  EXPECT_THAT(std::string(CheckMemoryStart(config, {0, &bytes}).message()),
              HasSubstr("at head 1, weight 9 is not finite"));
  weights[num_weights + 9] = 2e4f;
  bytes = BytesOfFloats(weights);
  EXPECT_THAT(std::string(CheckMemoryStart(config, {0, &bytes}).message()),
              HasSubstr("head 1 have norm 20000, max_norm is 10000"));
}

}  // namespace
}  // namespace headwise
