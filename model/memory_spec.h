// The shape and the rule of a neural memory, whatever file or call it came
// from (Titans, arXiv 2501.00663).

#ifndef HEADWISE_MODEL_MEMORY_SPEC_H_
#define HEADWISE_MODEL_MEMORY_SPEC_H_

#include <cstdint>

namespace headwise {

enum class MemoryActivation : uint8_t { kSilu, kGelu };  // GELU by erf
// Of the last layer's output, without an offset; scaled by 1 + gamma, where
// gamma is a part of the weights that are learned while serving.
enum class MemoryNorm : uint8_t { kNone, kLayer, kRms };
// How gates act inside a chunk.
enum class MemoryRule : uint8_t {
  // S_t = eta_t S_(t-1) - theta_t grad_t;  M_t = (1 - alpha_t) M_(t-1) + S_t,
  // token by token (equations 13 and 14). Token t reads M_t.
  kToken,
  // One such step for each chunk, with the sum of its theta_t grad_t, and eta
  // and alpha those of its first token (titans-pytorch). Token t reads what the
  // chunks that are whole with it have left.
  kChunk,
};

// One memory per head: head_dim -> hidden_dim -> ... -> head_dim without
// biases, num_layers matrices with the activation between them;
// M(k) = norm(MLP(k)) (+ k if residual). Gradients are of
// loss_scale / 2 * |M(k) - v|^2 and are taken, for the tokens of a chunk, at
// the weights that it began with. So chunk_len is a part of the model.
struct MemorySpec {
  int64_t head_dim = 64;   // 16 to 256, a multiple of 16
  int64_t num_layers = 2;  // 1 to 4
  int64_t hidden_dim =
      128;  // 16 to 1024, a multiple of 16; 0 if num_layers = 1
  MemoryActivation activation = MemoryActivation::kSilu;
  MemoryNorm norm = MemoryNorm::kNone;
  bool residual = true;
  MemoryRule rule = MemoryRule::kToken;
  int64_t chunk_len = 64;   // tokens, 1 to 4096
  float loss_scale = 2.0f;  // > 0, at most 1000
  // A chunk after which the weights' or the momentum's Euclidean norm is above
  // it, or not finite, is undone and refused.
  float max_norm = 1e4f;  // > 0, at most 1e18

  // Floats of the weights of one head, and of its momentum: the matrices in
  // order, each [in][out], then gamma [head_dim] if there is a norm.
  int64_t num_weights() const {
    return layer_begin(num_layers) + (norm == MemoryNorm::kNone ? 0 : head_dim);
  }
  // Layer i, from 0: its matrix is [layer_inputs(i)][layer_outputs(i)] and
  // begins at layer_begin(i); gamma begins at layer_begin(num_layers).
  int64_t layer_inputs(int64_t i) const {
    return i == 0 ? head_dim : hidden_dim;
  }
  int64_t layer_outputs(int64_t i) const {
    return i == num_layers - 1 ? head_dim : hidden_dim;
  }
  int64_t layer_begin(int64_t i) const {
    if (i == 0) return 0;
    if (num_layers == 1) return head_dim * head_dim;
    return head_dim * hidden_dim +
           (i == num_layers ? (num_layers - 2) * hidden_dim + head_dim
                            : (i - 1) * hidden_dim) *
               hidden_dim;
  }

  bool operator==(const MemorySpec& other) const = default;
};

}  // namespace headwise

#endif  // HEADWISE_MODEL_MEMORY_SPEC_H_
