// A model's forward pass in LibTorch: for gradients, which the product never
// needs. One sequence, no cache, nothing fast.

#ifndef HEADWISE_LAB_TORCH_MODEL_TORCH_MODEL_H_
#define HEADWISE_LAB_TORCH_MODEL_TORCH_MODEL_H_

#include <cstdint>
#include <vector>

#include "model/model.h"
#include "torch/torch.h"

namespace headwise {

// Of `tokens` positions from 0 on, [tokens, 1, rotary_dim / 2], fp32. Angles
// are computed in double.
struct TorchRotation {
  torch::Tensor cosine;
  torch::Tensor sine;
};

// What one layer attends with.
struct TorchHeads {
  // [num_kv_heads, heads_per_kv_head * tokens, head_dim], rotated, times
  // softmax_scale.
  torch::Tensor query;
  torch::Tensor key;    // [num_kv_heads, tokens, head_dim], rotated
  torch::Tensor value;  // [num_kv_heads, tokens, head_dim]
};

// [tokens, tokens]: 0 where the query of a row sees the key of a column, else
// minus infinity. A query at position i sees j <= i with j < num_sinks or
// i - j < window: its own position always, as window >= 1.
torch::Tensor VisibilityMask(int64_t tokens, int64_t num_sinks, int64_t window);

// Weights in fp32, frozen: no tensor of them requires a gradient. Functions are
// differentiable in the tensors that they are given. LibTorch's exceptions pass
// through. Immutable, hence safe to share between threads.
class TorchModel {
 public:
  // Copies all weights, dequantized. Of every architecture that Model has.
  explicit TorchModel(const Model& model);

  const Hyperparameters& hyperparameters() const { return hyper_; }

  TorchRotation Rotation(int64_t tokens) const;
  // [tokens, model_dim]. Requires ids below vocab_size.
  torch::Tensor Embed(const std::vector<int32_t>& tokens) const;
  // `states`: [tokens, model_dim], the residual stream before the layer.
  TorchHeads Project(int64_t layer, const torch::Tensor& states,
                     const TorchRotation& rotation) const;
  // [num_kv_heads, heads_per_kv_head, tokens, head_dim].
  torch::Tensor Attend(const TorchHeads& heads,
                       const torch::Tensor& mask) const;
  // The residual stream after the layer, of that before it and what its heads
  // attended to.
  torch::Tensor Finish(int64_t layer, const torch::Tensor& states,
                       const torch::Tensor& attended) const;
  // Of the residual stream after all layers.
  torch::Tensor FinalNorm(const torch::Tensor& states) const;
  // [tokens, vocab_size], of FinalNorm's result.
  torch::Tensor Logits(const torch::Tensor& normed) const;

 private:
  // Shapes as model/model.h has them; those that a model lacks are undefined.
  struct Layer {
    torch::Tensor attn_norm, q, k, v, q_bias, k_bias, v_bias, q_norm, k_norm;
    torch::Tensor output, ffn_norm, ffn_gate, ffn_up, ffn_down;
  };

  torch::Tensor Norm(const torch::Tensor& x, const torch::Tensor& weight) const;
  // `x`: [tokens, heads, head_dim].
  torch::Tensor Rotate(const torch::Tensor& x,
                       const TorchRotation& rotation) const;

  Hyperparameters hyper_;
  torch::Tensor embedding_;    // [vocab_size, model_dim]
  torch::Tensor output_;       // [vocab_size, model_dim]
  torch::Tensor output_norm_;  // [model_dim]
  std::vector<Layer> layers_;
};

}  // namespace headwise

#endif  // HEADWISE_LAB_TORCH_MODEL_TORCH_MODEL_H_
