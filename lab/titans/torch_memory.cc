#include "lab/titans/torch_memory.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace headwise {
namespace {

constexpr double kNormEpsilon = 1e-5;

size_t NumMatrices(const MemorySpec& spec) {
  return static_cast<size_t>(spec.num_layers);
}

torch::Tensor Activate(const MemorySpec& spec, const torch::Tensor& z) {
  return spec.activation == MemoryActivation::kSilu ? torch::silu(z)
                                                    : torch::gelu(z);
}

torch::Tensor ActivateSlope(const MemorySpec& spec, const torch::Tensor& z) {
  if (spec.activation == MemoryActivation::kSilu) {
    const torch::Tensor sigmoid = z.sigmoid();
    return sigmoid * (1 + z * (1 - sigmoid));
  }
  const torch::Tensor density = (z.square() * -0.5).exp() / std::sqrt(2 * M_PI);
  return 0.5 * (1 + (z / std::sqrt(2.0)).erf()) + z * density;
}

struct Normed {
  torch::Tensor x;        // of the norm, without gamma
  torch::Tensor inverse;  // 1 / deviation, [G, b, 1]
};

Normed Normalize(const MemorySpec& spec, const torch::Tensor& out) {
  const torch::Tensor centered = spec.norm == MemoryNorm::kLayer
                                     ? out - out.mean(-1, /*keepdim=*/true)
                                     : out;
  const torch::Tensor inverse =
      (centered.square().mean(-1, /*keepdim=*/true) + kNormEpsilon).rsqrt();
  return {.x = centered * inverse, .inverse = inverse};
}

// Of what the last matrix gave: norm, scale and residual.
torch::Tensor Finish(const MemorySpec& spec, torch::Tensor out,
                     const torch::Tensor& gamma, const torch::Tensor& keys) {
  if (spec.norm != MemoryNorm::kNone) {
    out = Normalize(spec, out).x * (1 + gamma);
  }
  return spec.residual ? out + keys : out;
}

// The gradient of the norm's input, of that of its output.
torch::Tensor BackThroughNorm(const MemorySpec& spec, const Normed& normed,
                              const torch::Tensor& gradient) {
  torch::Tensor inner =
      gradient - normed.x * (gradient * normed.x).mean(-1, /*keepdim=*/true);
  if (spec.norm == MemoryNorm::kLayer) {
    inner = inner - gradient.mean(-1, /*keepdim=*/true);
  }
  return inner * normed.inverse;
}

MemoryTokens Slice(const MemoryTokens& tokens, int64_t begin, int64_t end) {
  const auto cut = [&](const torch::Tensor& x) {
    return x.slice(1, begin, end);
  };
  return {.keys = cut(tokens.keys),
          .values = cut(tokens.values),
          .queries = cut(tokens.queries),
          .theta = cut(tokens.theta),
          .eta = cut(tokens.eta),
          .alpha = cut(tokens.alpha)};
}

torch::Tensor RunChunk(const MemorySpec& spec, const MemoryTokens& tokens,
                       const ChunkFactors& factors, TorchMemoryState& state) {
  const ChunkGradients gradients =
      MemoryGradients(spec, state.weights, tokens.keys, tokens.values);
  torch::Tensor out =
      ReadInsideChunk(spec, state, gradients, factors, tokens.queries);
  state = AfterChunk(state, gradients, factors);
  return out;
}

}  // namespace

TorchMemoryState InitialMemory(const MemorySpec& spec,
                               const torch::Tensor& initial) {
  TorchMemoryState state;
  int64_t at = 0;
  const auto take = [&](int64_t rows, int64_t cols) {
    state.weights.push_back(initial.slice(1, at, at + rows * cols)
                                .reshape({initial.size(0), rows, cols}));
    at += rows * cols;
  };
  for (int64_t i = 0; i < spec.num_layers; ++i) {
    const bool is_last = i + 1 == spec.num_layers;
    take(i == 0 ? spec.head_dim : spec.hidden_dim,
         is_last ? spec.head_dim : spec.hidden_dim);
  }
  if (spec.norm != MemoryNorm::kNone) take(1, spec.head_dim);
  for (const torch::Tensor& part : state.weights) {
    state.momentum.push_back(torch::zeros_like(part));
  }
  return state;
}

TorchMemoryState Detached(const TorchMemoryState& state) {
  TorchMemoryState detached;
  for (size_t i = 0; i < state.weights.size(); ++i) {
    detached.weights.push_back(state.weights[i].detach());
    detached.momentum.push_back(state.momentum[i].detach());
  }
  return detached;
}

ChunkFactors ChunkFactors::Chunk(int64_t index) const {
  return {.keep = keep.select(-2, index),
          .carry = carry.select(-2, index),
          .fade = fade.select(-2, index),
          .to_weights = to_weights.select(-3, index),
          .to_momentum = to_momentum.select(-3, index)};
}

ChunkFactors ComputeChunkFactors(const torch::Tensor& theta,
                                 const torch::Tensor& eta,
                                 const torch::Tensor& alpha) {
  const int64_t length = theta.size(-1);
  const torch::Tensor unit = torch::eye(length, theta.options());
  const torch::Tensor kept = 1 - alpha;
  std::vector<torch::Tensor> keep, carry, fade, to_weights, to_momentum;
  for (int64_t t = 0; t < length; ++t) {
    const torch::Tensor kept_t = kept.select(-1, t);
    const torch::Tensor eta_t = eta.select(-1, t);
    const size_t last = keep.size() - 1;  // not read where t is 0
    keep.push_back(t == 0 ? kept_t : keep[last] * kept_t);
    fade.push_back(t == 0 ? eta_t : fade[last] * eta_t);
    carry.push_back(t == 0 ? eta_t : carry[last] * kept_t + fade.back());
    to_momentum.push_back(t == 0 ? unit[0].expand_as(theta)
                                 : to_momentum[last] * eta_t.unsqueeze(-1) +
                                       unit[t]);
    to_weights.push_back(t == 0 ? to_momentum[0]
                                : to_weights[last] * kept_t.unsqueeze(-1) +
                                      to_momentum.back());
  }
  const torch::Tensor by_token = theta.unsqueeze(-2);
  return {.keep = torch::stack(keep, -1),
          .carry = torch::stack(carry, -1),
          .fade = torch::stack(fade, -1),
          .to_weights = torch::stack(to_weights, -2) * by_token,
          .to_momentum = torch::stack(to_momentum, -2) * by_token};
}

ChunkGradients MemoryGradients(const MemorySpec& spec,
                               const MemoryParts& weights,
                               const torch::Tensor& keys,
                               const torch::Tensor& values) {
  const size_t num_matrices = NumMatrices(spec);
  ChunkGradients gradients;
  std::vector<torch::Tensor> before;  // the activation, of each matrix
  torch::Tensor out = keys;
  for (size_t i = 0; i < num_matrices; ++i) {
    gradients.inputs.push_back(i == 0 ? out : Activate(spec, out));
    out = torch::bmm(gradients.inputs.back(), weights[i]);
    before.push_back(out);
  }
  torch::Tensor delta;
  if (spec.norm == MemoryNorm::kNone) {
    delta = spec.loss_scale * (Finish(spec, out, {}, keys) - values);
  } else {
    const torch::Tensor& gamma = weights[num_matrices];
    const Normed normed = Normalize(spec, out);
    const torch::Tensor error =
        spec.loss_scale * (Finish(spec, out, gamma, keys) - values);
    gradients.gamma = error * normed.x;
    delta = BackThroughNorm(spec, normed, error * (1 + gamma));
  }
  gradients.deltas.resize(num_matrices);
  for (size_t i = num_matrices; i-- > 0;) {
    gradients.deltas[i] = delta;
    if (i == 0) break;
    delta = torch::bmm(delta, weights[i].transpose(1, 2)) *
            ActivateSlope(spec, before[i - 1]);
  }
  return gradients;
}

torch::Tensor ReadMemory(const MemorySpec& spec, const MemoryParts& weights,
                         const torch::Tensor& queries) {
  torch::Tensor out = queries;
  for (size_t i = 0; i < NumMatrices(spec); ++i) {
    if (i > 0) out = Activate(spec, out);
    out = torch::bmm(out, weights[i]);
  }
  return Finish(
      spec, out,
      spec.norm == MemoryNorm::kNone ? torch::Tensor() : weights.back(),
      queries);
}

torch::Tensor ReadInsideChunk(const MemorySpec& spec,
                              const TorchMemoryState& state,
                              const ChunkGradients& gradients,
                              const ChunkFactors& factors,
                              const torch::Tensor& queries) {
  const torch::Tensor keep = factors.keep.unsqueeze(-1);
  const torch::Tensor carry = factors.carry.unsqueeze(-1);
  torch::Tensor out = queries;
  for (size_t i = 0; i < NumMatrices(spec); ++i) {
    if (i > 0) out = Activate(spec, out);
    const torch::Tensor written =
        factors.to_weights *
        torch::bmm(out, gradients.inputs[i].transpose(1, 2));
    // (out * keep) W = keep * (out W): rows are scaled.
    out = torch::bmm(out * keep, state.weights[i]) +
          torch::bmm(out * carry, state.momentum[i]) -
          torch::bmm(written, gradients.deltas[i]);
  }
  torch::Tensor gamma;
  if (spec.norm != MemoryNorm::kNone) {
    gamma = keep * state.weights.back() + carry * state.momentum.back() -
            torch::bmm(factors.to_weights, gradients.gamma);
  }
  return Finish(spec, out, gamma, queries);
}

TorchMemoryState AfterChunk(const TorchMemoryState& state,
                            const ChunkGradients& gradients,
                            const ChunkFactors& factors) {
  // Of the last token: [G, 1, 1] for the state, [G, b, 1] for gradients.
  const auto last = [](const torch::Tensor& x) {
    return x.slice(-1, x.size(-1) - 1).unsqueeze(-1);
  };
  const auto last_row = [](const torch::Tensor& x) {
    return x.select(-2, x.size(-2) - 1).unsqueeze(-1);
  };
  const torch::Tensor keep = last(factors.keep);
  const torch::Tensor carry = last(factors.carry);
  const torch::Tensor fade = last(factors.fade);
  const torch::Tensor to_weights = last_row(factors.to_weights);
  const torch::Tensor to_momentum = last_row(factors.to_momentum);
  TorchMemoryState after;
  const auto push = [&](size_t part, const torch::Tensor& of_weights,
                        const torch::Tensor& of_momentum) {
    after.weights.push_back(keep * state.weights[part] +
                            carry * state.momentum[part] - of_weights);
    after.momentum.push_back(fade * state.momentum[part] - of_momentum);
  };
  const size_t num_matrices = gradients.deltas.size();
  for (size_t i = 0; i < num_matrices; ++i) {
    const torch::Tensor& delta = gradients.deltas[i];
    const std::vector<torch::Tensor> both =
        torch::bmm(gradients.inputs[i].transpose(1, 2),
                   torch::cat({to_weights * delta, to_momentum * delta}, -1))
            .chunk(2, -1);
    push(i, both[0], both[1]);
  }
  if (gradients.gamma.defined()) {
    push(num_matrices, (to_weights * gradients.gamma).sum(1, /*keepdim=*/true),
         (to_momentum * gradients.gamma).sum(1, /*keepdim=*/true));
  }
  return after;
}

torch::Tensor RunMemory(const MemorySpec& spec, const MemoryTokens& tokens,
                        int64_t detach_chunks, TorchMemoryState& state) {
  const int64_t length = tokens.keys.size(1);
  const int64_t num_whole = length / spec.chunk_len;
  const int64_t whole = num_whole * spec.chunk_len;
  std::vector<torch::Tensor> outs;
  if (num_whole > 0) {
    const auto fold = [&](const torch::Tensor& gate) {
      return gate.slice(1, 0, whole)
          .reshape({gate.size(0), num_whole, spec.chunk_len});
    };
    const ChunkFactors factors = ComputeChunkFactors(
        fold(tokens.theta), fold(tokens.eta), fold(tokens.alpha));
    for (int64_t i = 0; i < num_whole; ++i) {
      if (i > 0 && detach_chunks > 0 && i % detach_chunks == 0) {
        state = Detached(state);
      }
      outs.push_back(RunChunk(
          spec, Slice(tokens, i * spec.chunk_len, (i + 1) * spec.chunk_len),
          factors.Chunk(i), state));
    }
  }
  if (whole < length) {
    const MemoryTokens rest = Slice(tokens, whole, length);
    outs.push_back(
        RunChunk(spec, rest,
                 ComputeChunkFactors(rest.theta, rest.eta, rest.alpha), state));
  }
  return torch::cat(outs, 1);
}

}  // namespace headwise
