#include "lab/titans/titans_forward.h"

#include <cmath>
#include <string>

#include "gtest/gtest.h"
#include "lab/titans/toy_titans.h"

namespace headwise {
namespace {

// Gates inside their range: where they are clamped there is no gradient.
constexpr GateStart kOpenGates = {.theta = -0.5, .eta = 0.0, .alpha = -1.0};

class TitansForwardTest : public testing::TestWithParam<TitansVariant> {
 protected:
  TitansForwardTest() { torch::manual_seed(11); }
};

torch::Tensor RowsOf(const TitansWeights& weights,
                     const torch::Tensor& tokens) {
  TitansState state = BeginTitans(weights, tokens.size(0));
  return RunTitans(weights, tokens, 0, state, nullptr);
}

TEST_P(TitansForwardTest, ATokenChangesNothingBeforeIt) {
  const torch::NoGradGuard no_gradient;
  const TitansWeights weights(ToyTitans(GetParam()), kOpenGates);
  const torch::Tensor tokens = ToyTokens(2, 15);
  const torch::Tensor rows = RowsOf(weights, tokens);
  for (int64_t i = 0; i < 15; ++i) {
    torch::Tensor other = tokens.clone();
    other.select(1, i).copy_((tokens.select(1, i) + 1) % kTitansVocab);
    const torch::Tensor changed = RowsOf(weights, other);
    EXPECT_TRUE(torch::equal(changed.slice(1, 0, i), rows.slice(1, 0, i)));
    EXPECT_FALSE(torch::equal(changed.select(1, i), rows.select(1, i)));
  }
}

TEST_P(TitansForwardTest, PiecesEqualTheWhole) {
  const torch::NoGradGuard no_gradient;
  const TitansWeights weights(ToyTitans(GetParam()), kOpenGates,
                              torch::kFloat64);
  const torch::Tensor tokens = ToyTokens(2, 31);
  const torch::Tensor whole = RowsOf(weights, tokens);
  TitansState state = BeginTitans(weights, 2);
  int64_t begin = 0;
  for (const int64_t end : {4, 16, 20, 31}) {
    const torch::Tensor rows =
        RunTitans(weights, tokens.slice(1, begin, end), 0, state, nullptr);
    const torch::Tensor difference = rows - whole.slice(1, begin, end);
    EXPECT_LT(difference.abs().max().item<double>(), 1e-11) << end;
    begin = end;
  }
  EXPECT_EQ(state.num_tokens, 31);
}

// Of all weights at once, along a direction: second-order terms included.
TEST_P(TitansForwardTest, GradientIsThatOfDifferences) {
  const TitansWeights weights(ToyTitans(GetParam()), kOpenGates,
                              torch::kFloat64);
  const torch::Tensor tokens = ToyTokens(2, 14);
  const torch::Tensor weighting =
      torch::randn({2, 14, 16}, torch::kFloat64) * 0.1;
  const auto loss = [&] { return (RowsOf(weights, tokens) * weighting).sum(); };
  loss().backward();
  constexpr double kStep = 1e-5;
  for (const auto& [name, tensor] : weights.named()) {
    if (!tensor.grad().defined()) {
      EXPECT_EQ(name, "lm_head.weight");  // logits are not asked for
      continue;
    }
    const torch::NoGradGuard no_gradient;
    const torch::Tensor direction = torch::randn_like(tensor);
    torch::Tensor moved = tensor;  // the same storage
    moved += kStep * direction;
    const double above = loss().item<double>();
    moved -= 2 * kStep * direction;
    const double below = loss().item<double>();
    moved += kStep * direction;
    const double slope = (above - below) / (2 * kStep);
    EXPECT_NEAR((tensor.grad() * direction).sum().item<double>(), slope,
                1e-6 * (1 + std::fabs(slope)))
        << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, TitansForwardTest,
                         testing::ValuesIn(AllTitansVariants()),
                         [](const auto& info) {
                           return std::string(TitansVariantName(info.param));
                         });

TEST(TitansGatesTest, ForbiddenOnesAreZeroAndLearnNothing) {
  torch::manual_seed(12);
  TitansWeights weights(ToyTitans(TitansVariant::kMag), kOpenGates);
  weights.ForbidMomentum();
  weights.ForbidForgetting();
  TitansState state = BeginTitans(weights, 2);
  TitansGates gates;
  RunTitans(weights, ToyTokens(2, 12), 0, state, &gates)
      .square()
      .sum()
      .backward();
  ASSERT_EQ(gates.values.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_GT(gates.values[i].slice(2, 0, 2).min().item<float>(), 0.0f);
    EXPECT_EQ(gates.values[i].slice(2, 2).max().item<float>(), 0.0f);
    const torch::Tensor& gate = weights.layers()[i].mem_gate;
    EXPECT_GT(gate.grad().slice(0, 0, 2).abs().max().item<float>(), 0.0f);
    EXPECT_EQ(gate.grad().slice(0, 2).abs().max().item<float>(), 0.0f);
  }
}

}  // namespace
}  // namespace headwise
