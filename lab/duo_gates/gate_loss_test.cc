#include "lab/duo_gates/gate_loss.h"

#include <cmath>

#include "gtest/gtest.h"
#include "lab/duo_gates/toy_model.h"

namespace headwise {
namespace {

constexpr StudentOptions kNarrow = {.num_sinks = 1, .window = 4};

struct LossAndGradient {
  double loss = 0.0;
  torch::Tensor gradient;
};

LossAndGradient At(const TorchModel& model, const torch::Tensor& values,
                   const StudentOptions& options) {
  const torch::Tensor gates = values.clone().requires_grad_();
  const double loss =
      DistillBackward(model, RandomSample(32, 0), options, gates);
  return {.loss = loss, .gradient = gates.grad()};
}

double MaxAbs(const torch::Tensor& x) { return x.abs().max().item<double>(); }

TEST(GateLoss, AndItsGradientAreZeroWhereAllGatesAreOne) {
  const TorchModel model(*OpenToy());
  const LossAndGradient at = At(model, torch::ones({3, 2}), kNarrow);
  EXPECT_LT(at.loss, 1e-10);
  EXPECT_LT(MaxAbs(at.gradient), 1e-4);
}

TEST(GateLoss, IsZeroForAnyGateWhereTheWindowHoldsEverything) {
  const TorchModel model(*OpenToy());
  const LossAndGradient at =
      At(model, torch::full({3, 2}, 0.3), {.num_sinks = 0, .window = 32});
  EXPECT_LT(at.loss, 1e-10);
}

TEST(GateLoss, GradientEqualsDifferencesOfTheLoss) {
  const TorchModel model(*OpenToy());
  torch::manual_seed(3);
  const torch::Tensor gates = torch::rand({3, 2}) * 0.6 + 0.2;
  const LossAndGradient at = At(model, gates, kNarrow);
  EXPECT_GT(MaxAbs(at.gradient), 1e-3);
  constexpr double kStep = 0.02;
  for (int64_t layer = 0; layer < 3; ++layer) {
    for (int64_t kv_head = 0; kv_head < 2; ++kv_head) {
      torch::Tensor above = gates.clone(), below = gates.clone();
      above[layer][kv_head] += kStep;
      below[layer][kv_head] -= kStep;
      const double slope =
          (At(model, above, kNarrow).loss - At(model, below, kNarrow).loss) /
          (2 * kStep);
      // The third derivative is worth about kStep^2 of the slope.
      EXPECT_NEAR(at.gradient[layer][kv_head].item<double>(), slope,
                  0.01 * std::fabs(slope) + 1e-5)
          << layer << " " << kv_head;
    }
  }
}

TEST(GateLoss, DoesNotDependOnHowManyLayersAreHeld) {
  const TorchModel model(*OpenToy());
  const torch::Tensor gates = torch::full({3, 2}, 0.4);
  const LossAndGradient whole = At(model, gates, kNarrow);
  for (const int64_t segment : {1, 2, 3}) {
    StudentOptions options = kNarrow;
    options.segment_layers = segment;
    const LossAndGradient at = At(model, gates, options);
    EXPECT_NEAR(at.loss, whole.loss, 1e-6 * whole.loss) << segment;
    EXPECT_LT(MaxAbs(at.gradient - whole.gradient),
              1e-5 * MaxAbs(whole.gradient))
        << segment;
  }
}

}  // namespace
}  // namespace headwise
