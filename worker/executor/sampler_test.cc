#include "worker/executor/sampler.h"

#include <cmath>
#include <map>

#include "base/counter_random.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

const Kernels& SomeKernels() { return KernelsFor(IsasOfThisMachine().front()); }

int32_t Draw(const std::vector<float>& logits, const SamplingOptions& options,
             int64_t position = 0, std::vector<int32_t> history = {}) {
  return Sample(SomeKernels(), logits, TokenHistory(history), options, position)
      .token;
}

// Known answers of the generator's authors for Philox4x32-10.
TEST(CounterRandomTest, PhiloxKnownAnswers) {
  EXPECT_EQ(Philox4x32({0, 0}, {0, 0, 0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c,
                                     0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({0xffffffff, 0xffffffff},
                       {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6,
                                     0x6d5451fd}));
}

TEST(CounterRandomTest, UniformStaysBelowOne) {
  double sum = 0.0;
  for (int64_t p = 0; p < 10000; ++p) {
    const double u = UniformAt(7, p);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
  }
  // Standard deviation of the mean is 0.0029; six of them.
  EXPECT_NEAR(sum / 10000, 0.5, 0.0173);
}

TEST(SamplerTest, GreedyTakesTheFirstOfTheBest) {
  EXPECT_EQ(Draw({1, 5, 3, 5}, {}), 1);
  SamplingOptions only_one;
  only_one.temperature = 1.0f;
  only_one.top_k = 1;
  EXPECT_EQ(Draw({1, 5, 3, 5}, only_one), 1);
}

TEST(SamplerTest, PenaltyCountsAWordOnce) {
  SamplingOptions options;
  options.repetition_penalty = 2.0f;
  EXPECT_EQ(Draw({4.0f, 3.0f, -1.0f}, options, 3, {0, 0, 0}), 1);
  EXPECT_EQ(Draw({-1.0f, -1.5f}, options, 1, {0}), 1);
  options.repetition_penalty = 1.2f;  // 4 / 1.2 > 3, though 4 / 1.2^2 is not
  EXPECT_EQ(Draw({4.0f, 3.0f, -1.0f}, options, 3, {0, 0, 0}), 0);
}

// Frequencies over positions follow the softmax of what the filters left.
TEST(SamplerTest, FrequenciesFollowTheFilteredSoftmax) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.05f),
                                     std::log(0.3f), std::log(0.15f)};
  struct Case {
    SamplingOptions options;
    std::map<int32_t, double> expected;
  };
  SamplingOptions plain;
  plain.temperature = 1.0f;
  plain.seed = 99;
  SamplingOptions top_k = plain, top_p = plain, min_p = plain, cold = plain;
  top_k.top_k = 2;
  top_p.top_p = 0.7f;
  min_p.min_p = 0.2f;
  cold.temperature = 0.5f;
  const double square = 0.25 + 0.0025 + 0.09 + 0.0225;
  const std::vector<Case> cases = {
      {plain, {{0, 0.5}, {1, 0.05}, {2, 0.3}, {3, 0.15}}},
      {top_k, {{0, 0.625}, {2, 0.375}}},
      {top_p, {{0, 0.625}, {2, 0.375}}},
      {min_p, {{0, 0.5 / 0.95}, {2, 0.3 / 0.95}, {3, 0.15 / 0.95}}},
      {cold,
       {{0, 0.25 / square},
        {1, 0.0025 / square},
        {2, 0.09 / square},
        {3, 0.0225 / square}}}};
  for (size_t c = 0; c < cases.size(); ++c) {
    SCOPED_TRACE(c);
    std::map<int32_t, int> counts;
    const int draws = 20000;
    for (int p = 0; p < draws; ++p) ++counts[Draw(logits, cases[c].options, p)];
    EXPECT_EQ(counts.size(), cases[c].expected.size());
    for (const auto& [token, probability] : cases[c].expected) {
      // Six standard deviations of a binomial; the seed is fixed.
      const double bound =
          6 * std::sqrt(probability * (1 - probability) / draws);
      EXPECT_NEAR(counts[token] / double{draws}, probability, bound) << token;
    }
  }
}

TEST(SamplerTest, DrawDependsOnSeedAndPositionAlone) {
  SamplingOptions options;
  options.temperature = 1.0f;
  options.seed = 5;
  const std::vector<float> logits(1000, 0.0f);
  const int32_t token = Draw(logits, options, 17);
  EXPECT_EQ(Draw(logits, options, 17), token);
  EXPECT_NE(Draw(logits, options, 18), token);
  options.seed = 6;
  EXPECT_NE(Draw(logits, options, 17), token);
}

TEST(SamplerTest, LogprobsAreOfTheUnmodifiedLogits) {
  SamplingOptions options;
  options.repetition_penalty = 5.0f;
  options.logprobs = true;
  options.top_logprobs = 2;
  const std::vector<float> logits = {2.0f, 1.0f};
  const SampledToken sampled =
      Sample(SomeKernels(), logits, TokenHistory({0}), options, 1);
  EXPECT_EQ(sampled.token, 1);
  const double lse = std::log(std::exp(2.0) + std::exp(1.0));
  EXPECT_NEAR(sampled.logprob, 1.0 - lse, 1e-6);
  ASSERT_EQ(sampled.top.size(), 2u);
  EXPECT_EQ(sampled.top[0].token, 0);
  EXPECT_NEAR(sampled.top[0].logprob, 2.0 - lse, 1e-6);
}

}  // namespace
}  // namespace headwise
