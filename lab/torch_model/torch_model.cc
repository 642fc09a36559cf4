#include "lab/torch_model/torch_model.h"

#include <cmath>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace headwise {
namespace {

// Undefined if the model has no such tensor.
torch::Tensor Read(const Model& model, const std::string& name) {
  const TensorView* view = model.FindTensor(name);
  if (view == nullptr) return {};
  torch::Tensor tensor = torch::empty(view->shape, torch::kFloat32);
  auto* values = tensor.data_ptr<float>();
  const auto cols = static_cast<size_t>(view->cols());
  for (int64_t row = 0; row < view->rows(); ++row) {
    DequantizeRow(*view, row,
                  absl::MakeSpan(values + row * view->cols(), cols));
  }
  return tensor;
}

torch::Tensor Linear(const torch::Tensor& x, const torch::Tensor& weight,
                     const torch::Tensor& bias) {
  const torch::Tensor y = torch::mm(x, weight.t());
  return bias.defined() ? y + bias : y;
}

}  // namespace

torch::Tensor VisibilityMask(int64_t tokens, int64_t num_sinks,
                             int64_t window) {
  const torch::Tensor at = torch::arange(tokens);
  const torch::Tensor query = at.unsqueeze(1);
  const torch::Tensor key = at.unsqueeze(0);
  const torch::Tensor visible =
      (key <= query) & ((key < num_sinks) | (query - key < window));
  return torch::zeros({tokens, tokens})
      .masked_fill_(~visible, -std::numeric_limits<float>::infinity());
}

TorchModel::TorchModel(const Model& model) : hyper_(model.hyperparameters()) {
  embedding_ = Read(model, "token_embd.weight");
  output_ = hyper_.tied_embeddings ? embedding_ : Read(model, "output.weight");
  output_norm_ = Read(model, "output_norm.weight");
  for (int64_t i = 0; i < hyper_.num_layers; ++i) {
    const auto read = [&](const char* name) {
      return Read(model, absl::StrCat("blk.", i, ".", name));
    };
    Layer layer;
    layer.attn_norm = read("attn_norm.weight");
    layer.q = read("attn_q.weight");
    layer.k = read("attn_k.weight");
    layer.v = read("attn_v.weight");
    layer.output = read("attn_output.weight");
    layer.ffn_norm = read("ffn_norm.weight");
    layer.ffn_gate = read("ffn_gate.weight");
    layer.ffn_up = read("ffn_up.weight");
    layer.ffn_down = read("ffn_down.weight");
    if (hyper_.qkv_bias) {
      layer.q_bias = read("attn_q.bias");
      layer.k_bias = read("attn_k.bias");
      layer.v_bias = read("attn_v.bias");
    }
    if (hyper_.qk_norm) {
      layer.q_norm = read("attn_q_norm.weight");
      layer.k_norm = read("attn_k_norm.weight");
    }
    layers_.push_back(std::move(layer));
  }
}

TorchRotation TorchModel::Rotation(int64_t tokens) const {
  const RopeFrequencies rope = ComputeRopeFrequencies(hyper_.rope);
  const torch::Tensor frequencies =
      torch::tensor(rope.inverse_frequencies, torch::kFloat64);
  const torch::Tensor angles =
      (torch::arange(tokens, torch::kFloat64).unsqueeze(1) * frequencies)
          .unsqueeze(1);
  return {.cosine = (angles.cos() * rope.magnitude).to(torch::kFloat32),
          .sine = (angles.sin() * rope.magnitude).to(torch::kFloat32)};
}

torch::Tensor TorchModel::Embed(const std::vector<int32_t>& tokens) const {
  for (const int32_t token : tokens) {
    HEADWISE_CHECK(token >= 0 && token < hyper_.vocab_size);
  }
  return embedding_.index_select(0, torch::tensor(tokens, torch::kInt64));
}

torch::Tensor TorchModel::Norm(const torch::Tensor& x,
                               const torch::Tensor& weight) const {
  const torch::Tensor mean_square = x.square().mean(-1, /*keepdim=*/true);
  return x * (mean_square + hyper_.norm_epsilon).rsqrt() * weight;
}

torch::Tensor TorchModel::Rotate(const torch::Tensor& x,
                                 const TorchRotation& rotation) const {
  const bool interleaved = hyper_.rope.layout == RopeLayout::kInterleaved;
  const int64_t rotary_dim = hyper_.rope.rotary_dim;
  const torch::Tensor turned = x.narrow(-1, 0, rotary_dim);
  const torch::Tensor pairs =
      interleaved ? turned.reshape({x.size(0), x.size(1), rotary_dim / 2, 2})
                  : turned.reshape({x.size(0), x.size(1), 2, rotary_dim / 2});
  const int64_t of_pair = interleaved ? 3 : 2;
  const torch::Tensor a = pairs.select(of_pair, 0);
  const torch::Tensor b = pairs.select(of_pair, 1);
  const torch::Tensor rotated =
      torch::stack({a * rotation.cosine - b * rotation.sine,
                    a * rotation.sine + b * rotation.cosine},
                   of_pair)
          .reshape(turned.sizes());
  if (rotary_dim == hyper_.head_dim) return rotated;
  const torch::Tensor rest =
      x.narrow(-1, rotary_dim, hyper_.head_dim - rotary_dim);
  return torch::cat({rotated, rest}, -1);
}

TorchHeads TorchModel::Project(int64_t layer, const torch::Tensor& states,
                               const TorchRotation& rotation) const {
  const Layer& weights = layers_[static_cast<size_t>(layer)];
  const torch::Tensor normed = Norm(states, weights.attn_norm);
  const auto split = [&](const torch::Tensor& matrix, const torch::Tensor& bias,
                         int64_t num_heads) {
    return Linear(normed, matrix, bias)
        .view({states.size(0), num_heads, hyper_.head_dim});
  };
  torch::Tensor query = split(weights.q, weights.q_bias, hyper_.num_heads);
  torch::Tensor key = split(weights.k, weights.k_bias, hyper_.num_kv_heads);
  const torch::Tensor value =
      split(weights.v, weights.v_bias, hyper_.num_kv_heads);
  if (hyper_.qk_norm) {
    query = Norm(query, weights.q_norm);
    key = Norm(key, weights.k_norm);
  }
  const double softmax_scale =
      1.0 / std::sqrt(static_cast<double>(hyper_.head_dim));
  query = (Rotate(query, rotation) * softmax_scale).transpose(0, 1);
  return {.query = query.reshape({hyper_.num_kv_heads, -1, hyper_.head_dim}),
          .key = Rotate(key, rotation).transpose(0, 1).contiguous(),
          .value = value.transpose(0, 1).contiguous()};
}

torch::Tensor TorchModel::Attend(const TorchHeads& heads,
                                 const torch::Tensor& mask) const {
  const int64_t tokens = heads.key.size(1);
  const torch::Tensor scores =
      torch::bmm(heads.query, heads.key.transpose(1, 2))
          .view({hyper_.num_kv_heads, -1, tokens, tokens});
  const torch::Tensor probs =
      (scores + mask).softmax(-1).view({hyper_.num_kv_heads, -1, tokens});
  return torch::bmm(probs, heads.value)
      .view({hyper_.num_kv_heads, -1, tokens, hyper_.head_dim});
}

torch::Tensor TorchModel::Finish(int64_t layer, const torch::Tensor& states,
                                 const torch::Tensor& attended) const {
  const Layer& weights = layers_[static_cast<size_t>(layer)];
  const torch::Tensor joined =
      attended.permute({2, 0, 1, 3}).reshape({states.size(0), -1});
  const torch::Tensor middle = states + torch::mm(joined, weights.output.t());
  const torch::Tensor inner = Norm(middle, weights.ffn_norm);
  const torch::Tensor gate =
      torch::silu(torch::mm(inner, weights.ffn_gate.t()));
  const torch::Tensor up = torch::mm(inner, weights.ffn_up.t());
  return middle + torch::mm(gate * up, weights.ffn_down.t());
}

torch::Tensor TorchModel::FinalNorm(const torch::Tensor& states) const {
  return Norm(states, output_norm_);
}

torch::Tensor TorchModel::Logits(const torch::Tensor& normed) const {
  return torch::mm(normed, output_.t());
}

}  // namespace headwise
