#include "lab/titans/titans_forward.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "lab/titans/window_attention.h"

namespace headwise {
namespace {

constexpr double kMinLength = 1e-6;  // what keys and queries are divided by

struct Heads {
  torch::Tensor query;        // [B, H, T, d], rotated
  torch::Tensor plain_query;  // as it was before
  torch::Tensor key, value;   // [B, H, T, d], the key rotated
};

struct MemoryGates {
  torch::Tensor theta, eta, alpha;  // [B * H, T]
};

torch::Tensor Linear(const torch::Tensor& x, const torch::Tensor& weight) {
  return torch::matmul(x, weight.t());
}

// By matrices of each head, [H, d, d], [out, in]; x [B, H, n, d].
torch::Tensor ByHead(const torch::Tensor& x, const torch::Tensor& weight) {
  return torch::matmul(x, weight.transpose(1, 2));
}

torch::Tensor UnitLength(const torch::Tensor& x) {
  return x / x.norm(2, -1, /*keepdim=*/true).clamp_min(kMinLength);
}

// One layer at work on T tokens.
class LayerRun {
 public:
  LayerRun(const TitansWeights& weights, const TitansLayer& layer,
           const RotationTable& rotation, int64_t detach_chunks,
           TitansLayerState& state, TitansGates* gates)
      : hyper_(weights.hyper()),
        titans_(weights.titans()),
        options_(weights.tensor_options()),
        layer_(layer),
        rotation_(rotation),
        detach_chunks_(detach_chunks),
        state_(state),
        gates_(gates) {}

  // x [B, T, D], the residual stream before and after the layer.
  torch::Tensor Run(torch::Tensor x) {
    if (titans_.is_mixed()) {
      x = x + MixedBranch(Norm(x, layer_.attn_norm));
    } else {
      if (titans_.has_memory()) x = x + MemoryBranch(Norm(x, layer_.mem_norm));
      if (titans_.has_attention()) {
        const torch::Tensor u = Norm(x, layer_.attn_norm);
        x = x + Linear(Join(AttendWindow(Project(u))), layer_.output);
      }
    }
    const torch::Tensor u = Norm(x, layer_.ffn_norm);
    const torch::Tensor inner =
        torch::silu(Linear(u, layer_.ffn_gate)) * Linear(u, layer_.ffn_up);
    return x + Linear(inner, layer_.ffn_down);
  }

  torch::Tensor Norm(const torch::Tensor& x,
                     const torch::Tensor& weight) const {
    return Rms(x) * weight;
  }

 private:
  torch::Tensor Rms(const torch::Tensor& x) const {
    return x * (x.square().mean(-1, /*keepdim=*/true) + hyper_.norm_epsilon)
                   .rsqrt();
  }

  // [B, T, H d] as [B, H, T, d], and back.
  torch::Tensor Split(const torch::Tensor& x) const {
    return x.reshape({x.size(0), x.size(1), hyper_.num_heads, -1})
        .transpose(1, 2);
  }
  torch::Tensor Join(const torch::Tensor& x) const {
    return x.transpose(1, 2).reshape({x.size(0), x.size(2), -1});
  }
  // [B, H, ...] as [B * H, ...], and back.
  torch::Tensor Flat(const torch::Tensor& x) const { return x.flatten(0, 1); }
  torch::Tensor Unflat(const torch::Tensor& x) const {
    return x.reshape({-1, hyper_.num_heads, x.size(1), x.size(2)});
  }
  // Each head's own norm, times `weight` [H d]; x [B, H, T, d].
  torch::Tensor HeadNorm(const torch::Tensor& x,
                         const torch::Tensor& weight) const {
    return Rms(x) * weight.view({hyper_.num_heads, 1, hyper_.head_dim});
  }

  Heads Project(const torch::Tensor& u) const {
    const torch::Tensor query = Split(Linear(u, layer_.q));
    return {.query = Rotate(query, rotation_),
            .plain_query = query,
            .key = Rotate(Split(Linear(u, layer_.k)), rotation_),
            .value = Split(Linear(u, layer_.v))};
  }

  MemoryGates GatesOf(const torch::Tensor& u) {
    const torch::Tensor sigmoid =
        (Linear(u, layer_.mem_gate) + layer_.mem_gate_bias).sigmoid();
    const double stretch = titans_.gate_stretch;
    const torch::Tensor gate =
        ((1 + 2 * stretch) * sigmoid - stretch).clamp(0.0, 1.0);
    if (gates_ != nullptr) {
      gates_->sigmoids.push_back(sigmoid);
      gates_->values.push_back(gate);
    }
    const auto of_kind = [&](int64_t kind) {
      const int64_t heads = hyper_.num_heads;
      return Flat(
          gate.slice(2, kind * heads, (kind + 1) * heads).transpose(1, 2));
    };
    return {.theta = of_kind(0) * titans_.theta_max,
            .eta = of_kind(1),
            .alpha = of_kind(2)};
  }

  VisibleRows Persistent(int64_t batch, int64_t num_queries) const {
    if (titans_.num_persistent == 0) return {};
    const std::vector<int64_t> shape = {
        batch, hyper_.num_heads, titans_.num_persistent, hyper_.head_dim};
    return {
        .keys = layer_.persistent_k.expand(shape),
        .values = layer_.persistent_v.expand(shape),
        .mask = torch::zeros({num_queries, titans_.num_persistent}, options_)};
  }

  // [B, H, T, d]; in blocks of queries, so that cost is linear in T.
  torch::Tensor AttendWindow(const Heads& heads) {
    const int64_t length = heads.query.size(2);
    const int64_t window = titans_.window;
    const torch::Tensor keys = torch::cat({state_.window_keys, heads.key}, 2);
    const torch::Tensor values =
        torch::cat({state_.window_values, heads.value}, 2);
    const int64_t num_before = keys.size(2) - length;
    std::vector<torch::Tensor> outs;
    for (int64_t begin = 0; begin < length; begin += window) {
      const int64_t end = std::min(begin + window, length);
      const int64_t first =
          std::max<int64_t>(0, num_before + begin - window + 1);
      const int64_t last = num_before + end;
      outs.push_back(AttendRows(
          heads.query.slice(2, begin, end),
          heads.plain_query.slice(2, begin, end),
          Persistent(heads.query.size(0), end - begin),
          {.keys = keys.slice(2, first, last),
           .values = values.slice(2, first, last),
           .mask = WindowMask(end - begin, last - first,
                              num_before + begin - first, window, options_)}));
    }
    const int64_t kept = std::max<int64_t>(0, keys.size(2) - window + 1);
    state_.window_keys = keys.slice(2, kept);
    state_.window_values = values.slice(2, kept);
    return torch::cat(outs, 2);
  }

  // x [B, T, 3 H d]: q, k and v of the memory side by side.
  torch::Tensor Convolve(const torch::Tensor& x) {
    if (titans_.conv_kernel == 1) return x;
    const torch::Tensor taps = torch::cat(
        {layer_.mem_q_conv, layer_.mem_k_conv, layer_.mem_v_conv}, 0);
    const torch::Tensor padded = torch::cat({state_.conv_tail, x}, 1);
    torch::Tensor out;
    for (int64_t tap = 0; tap < titans_.conv_kernel; ++tap) {
      const torch::Tensor part =
          padded.slice(1, tap, tap + x.size(1)) * taps.select(1, tap);
      out = out.defined() ? out + part : part;
    }
    state_.conv_tail = padded.slice(1, x.size(1));
    return out;
  }

  // What the memory gives to each token of u, [B, H, T, d].
  torch::Tensor Remember(const torch::Tensor& u) {
    const torch::Tensor joined =
        Linear(u, torch::cat({layer_.mem_q, layer_.mem_k, layer_.mem_v}, 0));
    const std::vector<torch::Tensor> qkv =
        torch::silu(Convolve(joined)).chunk(3, -1);
    const MemoryGates gates = GatesOf(u);
    return Unflat(RunMemory(titans_.memory,
                            {.keys = UnitLength(Flat(Split(qkv[1]))),
                             .values = Flat(Split(qkv[2])),
                             .queries = UnitLength(Flat(Split(qkv[0]))),
                             .theta = gates.theta,
                             .eta = gates.eta,
                             .alpha = gates.alpha},
                            detach_chunks_, state_.memory));
  }

  torch::Tensor MemoryBranch(const torch::Tensor& u) {
    return Linear(Join(HeadNorm(Remember(u), layer_.mem_output_norm)),
                  layer_.mem_output);
  }

  torch::Tensor MixedBranch(const torch::Tensor& u) {
    const Heads heads = Project(u);
    torch::Tensor attended, remembered;
    if (titans_.variant == TitansVariant::kMag) {
      attended = AttendWindow(heads);
      remembered = Remember(u);
    } else {
      std::tie(attended, remembered) = RunSegments(u, heads);
    }
    const torch::Tensor mixed =
        HeadNorm(attended, layer_.attn_mix_norm) *
        HeadNorm(remembered, layer_.mem_output_norm).sigmoid();
    return Linear(Join(mixed), layer_.output);
  }

  // Memory as context, segment by segment: what attention and memory give.
  std::pair<torch::Tensor, torch::Tensor> RunSegments(const torch::Tensor& u,
                                                      const Heads& heads) {
    const torch::Tensor queries =
        UnitLength(torch::silu(Split(Linear(u, layer_.mem_q))));
    const MemoryGates gates = GatesOf(u);
    std::vector<torch::Tensor> attended, remembered;
    const int64_t length = u.size(1);
    const int64_t chunk = titans_.memory.chunk_len;
    for (int64_t begin = 0; begin < length; begin += chunk) {
      if (begin > 0 && detach_chunks_ > 0 &&
          begin / chunk % detach_chunks_ == 0) {
        state_.memory = Detached(state_.memory);
      }
      const int64_t end = std::min(begin + chunk, length);
      const auto cut = [&](const torch::Tensor& x) {
        return x.slice(2, begin, end);
      };
      attended.push_back(AttendSegment({.query = cut(heads.query),
                                        .plain_query = cut(heads.plain_query),
                                        .key = cut(heads.key),
                                        .value = cut(heads.value)},
                                       cut(queries)));
      remembered.push_back(WriteSegment(attended.back(), gates, begin, end));
    }
    return {torch::cat(attended, 2), torch::cat(remembered, 2)};
  }

  torch::Tensor AttendSegment(const Heads& heads,
                              const torch::Tensor& queries) const {
    const int64_t length = queries.size(2);
    const torch::Tensor recalled = Unflat(
        ReadMemory(titans_.memory, state_.memory.weights, Flat(queries)));
    const torch::Tensor mask = WindowMask(length, length, 0, length, options_);
    const torch::Tensor keys = ByHead(recalled, layer_.mac_context_k);
    const torch::Tensor values = ByHead(recalled, layer_.mac_context_v);
    VisibleRows plain = Persistent(queries.size(0), length);
    plain = plain.keys.defined()
                ? VisibleRows{.keys = torch::cat({plain.keys, keys}, 2),
                              .values = torch::cat({plain.values, values}, 2),
                              .mask = torch::cat({plain.mask, mask}, 1)}
                : VisibleRows{.keys = keys, .values = values, .mask = mask};
    return AttendRows(heads.query, heads.plain_query, plain,
                      {.keys = heads.key, .values = heads.value, .mask = mask});
  }

  torch::Tensor WriteSegment(const torch::Tensor& attended,
                             const MemoryGates& gates, int64_t begin,
                             int64_t end) {
    const auto project = [&](const torch::Tensor& weight) {
      return torch::silu(Flat(ByHead(attended, weight)));
    };
    return Unflat(
        RunMemory(titans_.memory,
                  {.keys = UnitLength(project(layer_.mac_memory_k)),
                   .values = project(layer_.mac_memory_v),
                   .queries = UnitLength(project(layer_.mac_memory_q)),
                   .theta = gates.theta.slice(1, begin, end),
                   .eta = gates.eta.slice(1, begin, end),
                   .alpha = gates.alpha.slice(1, begin, end)},
                  /*detach_chunks=*/0, state_.memory));
  }

  const Hyperparameters& hyper_;
  const TitansHyperparameters& titans_;
  const torch::TensorOptions options_;
  const TitansLayer& layer_;
  const RotationTable& rotation_;
  const int64_t detach_chunks_;
  TitansLayerState& state_;
  TitansGates* const gates_;
};

}  // namespace

TitansState BeginTitans(const TitansWeights& weights, int64_t num_sequences) {
  const Hyperparameters& hyper = weights.hyper();
  const TitansHyperparameters& titans = weights.titans();
  const torch::TensorOptions options = weights.tensor_options();
  TitansState state;
  for (const TitansLayer& layer : weights.layers()) {
    TitansLayerState of_layer;
    if (titans.has_memory()) {
      of_layer.memory = InitialMemory(
          titans.memory, layer.mem_init.repeat({num_sequences, 1}));
      of_layer.conv_tail = torch::zeros(
          {num_sequences, titans.conv_kernel - 1, 3 * weights.heads_dim()},
          options);
    }
    if (titans.has_attention()) {
      of_layer.window_keys = torch::zeros(
          {num_sequences, hyper.num_heads, 0, hyper.head_dim}, options);
      of_layer.window_values = of_layer.window_keys;
    }
    state.layers.push_back(std::move(of_layer));
  }
  return state;
}

torch::Tensor RunTitans(const TitansWeights& weights,
                        const torch::Tensor& tokens, int64_t detach_chunks,
                        TitansState& state, TitansGates* gates) {
  HEADWISE_CHECK(state.num_tokens % weights.titans().memory.chunk_len == 0 ||
                 !weights.titans().has_memory());
  const RotationTable rotation =
      MakeRotationTable(weights.hyper().rope, state.num_tokens, tokens.size(1),
                        weights.tensor_options());
  torch::Tensor x = torch::embedding(weights.embedding(), tokens);
  for (size_t i = 0; i < weights.layers().size(); ++i) {
    x = LayerRun(weights, weights.layers()[i], rotation, detach_chunks,
                 state.layers[i], gates)
            .Run(x);
  }
  state.num_tokens += tokens.size(1);
  const double epsilon = weights.hyper().norm_epsilon;
  return x * (x.square().mean(-1, /*keepdim=*/true) + epsilon).rsqrt() *
         weights.output_norm();
}

torch::Tensor TitansLogits(const TitansWeights& weights,
                           const torch::Tensor& rows) {
  return Linear(rows, weights.lm_head());
}

}  // namespace headwise
