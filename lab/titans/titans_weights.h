// The trained tensors of a Titans model, by the names of docs/titans-models.md.
//
// Legend: D model_dim, H heads of d, K conv_kernel, P num_persistent.

#ifndef HEADWISE_LAB_TITANS_TITANS_WEIGHTS_H_
#define HEADWISE_LAB_TITANS_TITANS_WEIGHTS_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lab/titans/titans_shape.h"
#include "torch/torch.h"

namespace headwise {

// Those that a variant lacks are undefined. A matrix is [out, in].
struct TitansLayer {
  torch::Tensor attn_norm;                   // [D]
  torch::Tensor q, k, v;                     // [H d, D]
  torch::Tensor output;                      // [D, H d]
  torch::Tensor persistent_k, persistent_v;  // [H, P, d]
  torch::Tensor attn_mix_norm;               // [H d]: g1

  torch::Tensor mem_norm;                            // [D]
  torch::Tensor mem_q, mem_k, mem_v;                 // [H d, D]
  torch::Tensor mem_q_conv, mem_k_conv, mem_v_conv;  // [H d, K]
  torch::Tensor mem_gate;         // [3 H, D]: theta of all heads, eta, alpha
  torch::Tensor mem_gate_bias;    // [3 H]
  torch::Tensor mem_init;         // [H, num_weights]
  torch::Tensor mem_output_norm;  // [H d]: g2
  torch::Tensor mem_output;       // [D, H d]

  torch::Tensor mac_context_k, mac_context_v;              // [H, d, d]
  torch::Tensor mac_memory_q, mac_memory_k, mac_memory_v;  // [H, d, d]

  torch::Tensor ffn_norm;          // [D]
  torch::Tensor ffn_gate, ffn_up;  // [ffn_dim, D]
  torch::Tensor ffn_down;          // [D, ffn_dim]
};

// Where the gates' biases start: the paper leaves them open. Writing starts
// weak, as a chunk of equal keys is stable only while the sum of its thetas is
// below 1; momentum at a half, forgetting where `gate_stretch` still makes it
// 0.
struct GateStart {
  double theta = -2.0;
  double eta = 0.0;
  double alpha = -8.0;
};

// Not copied: a copy would share its tensors.
class TitansWeights {
 public:
  using Named = std::vector<std::pair<std::string, torch::Tensor>>;

  // Random, by torch's generator. The shape is one that CheckTitansShape
  // accepts; `dtype` is kFloat32 or, for tests, kFloat64.
  explicit TitansWeights(const Hyperparameters& hyper,
                         const GateStart& start = {},
                         torch::ScalarType dtype = torch::kFloat32);
  TitansWeights(const TitansWeights&) = delete;
  TitansWeights& operator=(const TitansWeights&) = delete;

  const Hyperparameters& hyper() const { return hyper_; }
  const TitansHyperparameters& titans() const { return *hyper_.titans; }
  int64_t heads_dim() const { return hyper_.num_heads * hyper_.head_dim; }
  torch::TensorOptions tensor_options() const { return options_; }

  // Leaves that require gradients, by their names in model.safetensors.
  const Named& named() const { return named_; }
  std::vector<torch::Tensor> list() const;
  int64_t num_parameters() const;  // floats

  const torch::Tensor& embedding() const { return embedding_; }  // [vocab, D]
  const torch::Tensor& output_norm() const { return output_norm_; }  // [D]
  const torch::Tensor& lm_head() const { return lm_head_; }  // [vocab, D]
  const std::vector<TitansLayer>& layers() const { return layers_; }

  // eta, or alpha, is 0 for every head and token, and training leaves it so:
  // where a gate is clamped its gradient is 0. Requires gate_stretch > 0.
  void ForbidMomentum() { ForbidGate(1); }
  void ForbidForgetting() { ForbidGate(2); }

 private:
  torch::Tensor Add(const std::string& name, const torch::Tensor& value);
  torch::Tensor AddMatrix(const std::string& name,
                          const std::vector<int64_t>& shape);
  torch::Tensor AddOnes(const std::string& name, int64_t size);
  void AddLayer(const GateStart& start);
  void AddAttention(const std::string& prefix, TitansLayer& layer);
  void AddMemory(const std::string& prefix, const GateStart& start,
                 TitansLayer& layer);
  void AddMac(const std::string& prefix, TitansLayer& layer);
  torch::Tensor InitialMemories() const;
  void ForbidGate(int64_t kind);

  Hyperparameters hyper_;
  torch::TensorOptions options_;
  Named named_;
  torch::Tensor embedding_, output_norm_, lm_head_;
  std::vector<TitansLayer> layers_;
};

}  // namespace headwise

#endif  // HEADWISE_LAB_TITANS_TITANS_WEIGHTS_H_
