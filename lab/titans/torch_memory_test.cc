#include "lab/titans/torch_memory.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

constexpr int64_t kMemories = 3;

MemorySpec Spec(int64_t num_layers, MemoryActivation activation,
                MemoryNorm norm) {
  return {.head_dim = 16,
          .num_layers = num_layers,
          .hidden_dim = 32,
          .activation = activation,
          .norm = norm,
          .residual = num_layers % 2 == 0,
          .chunk_len = 5,
          .loss_scale = 0.7f};
}

std::vector<MemorySpec> AllSpecs() {
  std::vector<MemorySpec> specs;
  for (const int64_t num_layers : {1, 2, 3, 4}) {
    for (const auto activation :
         {MemoryActivation::kSilu, MemoryActivation::kGelu}) {
      for (const auto norm :
           {MemoryNorm::kNone, MemoryNorm::kLayer, MemoryNorm::kRms}) {
        specs.push_back(Spec(num_layers, activation, norm));
      }
    }
  }
  return specs;
}

std::string Describe(const MemorySpec& spec) {
  return absl::StrCat("layers ", spec.num_layers, " activation ",
                      static_cast<int>(spec.activation), " norm ",
                      static_cast<int>(spec.norm));
}

torch::Tensor Random(const std::vector<int64_t>& shape) {
  return torch::randn(shape, torch::kFloat64);
}

torch::Tensor RandomInitial(const MemorySpec& spec) {
  return Random({kMemories, spec.num_weights()}) * 0.3;
}

MemoryTokens RandomTokens(const MemorySpec& spec, int64_t length) {
  const auto vectors = [&] {
    return Random({kMemories, length, spec.head_dim});
  };
  const auto gates = [&] {
    return torch::rand({kMemories, length}, torch::kFloat64);
  };
  return {.keys = vectors() * 0.25,
          .values = vectors(),
          .queries = vectors() * 0.25,
          .theta = gates() * 0.2,
          .eta = gates() * 0.9,
          .alpha = gates() * 0.3};
}

double MaxAbs(const torch::Tensor& x) { return x.abs().max().item<double>(); }

// The inner gradient of one token, by autograd: of loss_scale / 2 |M(k) - v|^2.
MemoryParts AutogradOf(const MemorySpec& spec, const MemoryParts& weights,
                       const torch::Tensor& key, const torch::Tensor& value) {
  MemoryParts leaves;
  for (const torch::Tensor& part : weights) {
    leaves.push_back(part.detach().clone().requires_grad_());
  }
  const torch::Tensor error = ReadMemory(spec, leaves, key) - value;
  const torch::Tensor loss = spec.loss_scale / 2 * error.square().sum();
  return torch::autograd::grad({loss}, leaves);
}

TEST(TorchMemory, ClosedFormGradientsAreAutograds) {
  torch::manual_seed(1);
  for (const MemorySpec& spec : AllSpecs()) {
    SCOPED_TRACE(Describe(spec));
    const TorchMemoryState state = InitialMemory(spec, RandomInitial(spec));
    const MemoryTokens tokens = RandomTokens(spec, spec.chunk_len);
    const ChunkGradients ours =
        MemoryGradients(spec, state.weights, tokens.keys, tokens.values);
    const MemoryParts theirs =
        AutogradOf(spec, state.weights, tokens.keys, tokens.values);
    for (size_t i = 0; i < ours.deltas.size(); ++i) {
      EXPECT_LT(
          MaxAbs(torch::bmm(ours.inputs[i].transpose(1, 2), ours.deltas[i]) -
                 theirs[i]),
          1e-12 * (1 + MaxAbs(theirs[i])));
    }
    ASSERT_EQ(ours.gamma.defined(), spec.norm != MemoryNorm::kNone);
    if (ours.gamma.defined()) {
      EXPECT_LT(MaxAbs(ours.gamma.sum(1, true) - theirs.back()),
                1e-12 * (1 + MaxAbs(theirs.back())));
    }
  }
}

// Equations 13 to 15 token by token, every weight of every token written out.
torch::Tensor TokenLoop(const MemorySpec& spec, const MemoryTokens& tokens,
                        TorchMemoryState& state) {
  std::vector<torch::Tensor> outs;
  MemoryParts base;  // what the chunk began with
  for (int64_t t = 0; t < tokens.keys.size(1); ++t) {
    if (t % spec.chunk_len == 0) base = state.weights;
    const auto at = [&](const torch::Tensor& x) {
      return x.slice(1, t, t + 1);
    };
    const auto gate = [&](const torch::Tensor& x) {
      return at(x).unsqueeze(-1);
    };
    const MemoryParts gradient =
        AutogradOf(spec, base, at(tokens.keys), at(tokens.values));
    for (size_t i = 0; i < gradient.size(); ++i) {
      state.momentum[i] = gate(tokens.eta) * state.momentum[i] -
                          gate(tokens.theta) * gradient[i];
      state.weights[i] =
          (1 - gate(tokens.alpha)) * state.weights[i] + state.momentum[i];
    }
    outs.push_back(ReadMemory(spec, state.weights, at(tokens.queries)));
  }
  return torch::cat(outs, 1);
}

TEST(TorchMemory, ChunksEqualTheTokenLoop) {
  torch::manual_seed(2);
  for (MemorySpec spec : AllSpecs()) {
    for (const int64_t chunk_len : {1, 5, 17, 64}) {
      SCOPED_TRACE(absl::StrCat(Describe(spec), " chunk ", chunk_len));
      spec.chunk_len = chunk_len;
      const torch::Tensor initial = RandomInitial(spec);
      TorchMemoryState ours = InitialMemory(spec, initial);
      TorchMemoryState theirs = InitialMemory(spec, initial);
      // 17 tokens: the last chunk is short, or whole, or the only one.
      const MemoryTokens tokens = RandomTokens(spec, 17);
      const torch::Tensor out = RunMemory(spec, tokens, 0, ours);
      EXPECT_LT(MaxAbs(out - TokenLoop(spec, tokens, theirs)), 1e-11);
      for (size_t i = 0; i < ours.weights.size(); ++i) {
        EXPECT_LT(MaxAbs(ours.weights[i] - theirs.weights[i]), 1e-11);
        EXPECT_LT(MaxAbs(ours.momentum[i] - theirs.momentum[i]), 1e-11);
      }
    }
  }
}

// Gates of exactly 0 and 1 are what clamped gates give.
TEST(TorchMemory, ATokenWhoseGatesAreZeroLeavesNothingOnceMomentumIsGone) {
  torch::manual_seed(3);
  const MemorySpec spec = Spec(2, MemoryActivation::kSilu, MemoryNorm::kNone);
  TorchMemoryState state = InitialMemory(spec, RandomInitial(spec));
  MemoryTokens tokens = RandomTokens(spec, 10);
  RunMemory(spec, tokens, 0, state);
  tokens.theta.zero_();
  tokens.alpha.zero_();
  tokens.eta.zero_();
  const TorchMemoryState before = state;
  RunMemory(spec, tokens, 0, state);
  for (size_t i = 0; i < state.weights.size(); ++i) {
    EXPECT_TRUE(torch::equal(state.weights[i], before.weights[i]));
    EXPECT_EQ(MaxAbs(state.momentum[i]), 0.0);
  }
}

using Inputs = std::vector<torch::Tensor>;

// A scalar of what three chunks and a bit read, by all inputs.
torch::Tensor LossOf(const MemorySpec& spec, const Inputs& inputs,
                     const torch::Tensor& weighting) {
  TorchMemoryState state = InitialMemory(spec, inputs[0]);
  const MemoryTokens tokens = {.keys = inputs[1],
                               .values = inputs[2],
                               .queries = inputs[3],
                               .theta = inputs[4],
                               .eta = inputs[5],
                               .alpha = inputs[6]};
  return (RunMemory(spec, tokens, 0, state) * weighting).sum();
}

TEST(TorchMemory, GradientThroughTheInnerLoopIsThatOfDifferences) {
  torch::manual_seed(4);
  for (const MemorySpec& spec : AllSpecs()) {
    SCOPED_TRACE(Describe(spec));
    const MemoryTokens tokens = RandomTokens(spec, 17);
    const torch::Tensor weighting =
        Random({kMemories, 17, spec.head_dim}) * 0.1;
    Inputs inputs = {RandomInitial(spec), tokens.keys,  tokens.values,
                     tokens.queries,      tokens.theta, tokens.eta,
                     tokens.alpha};
    for (torch::Tensor& input : inputs) input.requires_grad_();
    const Inputs gradients =
        torch::autograd::grad({LossOf(spec, inputs, weighting)}, inputs);
    for (size_t i = 0; i < inputs.size(); ++i) {
      const torch::Tensor direction = torch::randn_like(inputs[i]);
      constexpr double kStep = 2e-6;
      const auto moved = [&](double step) {
        const torch::NoGradGuard no_gradient;
        Inputs at = inputs;
        at[i] = at[i] + step * direction;
        return LossOf(spec, at, weighting).item<double>();
      };
      // Five points: what is left is of the fifth derivative and of rounding,
      // 1e-16 / kStep. Memories of norms over small outputs bend sharply.
      const double slope = (8 * (moved(kStep) - moved(-kStep)) -
                            (moved(2 * kStep) - moved(-2 * kStep))) /
                           (12 * kStep);
      EXPECT_NEAR((gradients[i] * direction).sum().item<double>(), slope,
                  1e-6 * (1 + std::fabs(slope)))
          << "input " << i;
    }
  }
}

TEST(TorchMemory, TruncationChangesNoValueAndEndsGradients) {
  torch::manual_seed(5);
  const MemorySpec spec = Spec(2, MemoryActivation::kSilu, MemoryNorm::kNone);
  const torch::Tensor initial = RandomInitial(spec);
  const MemoryTokens random = RandomTokens(spec, 20);
  torch::Tensor whole;
  for (const int64_t detach_chunks : {0, 1, 2, 4}) {
    MemoryTokens tokens = random;
    tokens.keys = random.keys.clone().requires_grad_();
    TorchMemoryState state = InitialMemory(spec, initial);
    const torch::Tensor out = RunMemory(spec, tokens, detach_chunks, state);
    if (detach_chunks == 0) whole = out.detach();
    EXPECT_TRUE(torch::equal(out, whole));
    // Of the last chunk's reads, to the keys of each chunk.
    out.slice(1, 15).sum().backward();
    for (int64_t chunk = 0; chunk < 4; ++chunk) {
      const double gradient =
          MaxAbs(tokens.keys.grad().slice(1, 5 * chunk, 5 * chunk + 5));
      const bool is_cut =
          detach_chunks > 0 && chunk / detach_chunks < 3 / detach_chunks;
      EXPECT_EQ(gradient == 0.0, is_cut) << detach_chunks << " " << chunk;
    }
  }
}

}  // namespace
}  // namespace headwise
