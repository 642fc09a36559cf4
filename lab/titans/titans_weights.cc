#include "lab/titans/titans_weights.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace headwise {
namespace {

// Embeddings are small beside what layers add, and logits start even.
constexpr double kEmbeddingDeviation = 0.3;
constexpr double kHeadDeviation = 0.05;
// In mag the memory is seen as gates of what attention gives. That varies with
// the tokens of the window; large persistent values are a part of it that does
// not, or a memory's gates have nothing to say anything with. Not in mac, whose
// memory would learn them, and run away.
constexpr double kPersistentDeviation = 0.1;
constexpr double kMagPersistentDeviation = 4.0;
constexpr double kForbidden = -100.0;  // sigma of it is below every stretch

}  // namespace

TitansWeights::TitansWeights(const Hyperparameters& hyper,
                             const GateStart& start, torch::ScalarType dtype)
    : hyper_(hyper), options_(torch::TensorOptions().dtype(dtype)) {
  const std::vector<int64_t> shape = {hyper.vocab_size, hyper.model_dim};
  embedding_ = Add("model.embed_tokens.weight",
                   torch::randn(shape, options_) * kEmbeddingDeviation);
  for (int64_t i = 0; i < hyper.num_layers; ++i) AddLayer(start);
  output_norm_ = AddOnes("model.norm.weight", hyper.model_dim);
  lm_head_ =
      Add("lm_head.weight", torch::randn(shape, options_) * kHeadDeviation);
}

std::vector<torch::Tensor> TitansWeights::list() const {
  std::vector<torch::Tensor> tensors;
  for (const auto& [name, tensor] : named_) tensors.push_back(tensor);
  return tensors;
}

int64_t TitansWeights::num_parameters() const {
  int64_t count = 0;
  for (const auto& [name, tensor] : named_) count += tensor.numel();
  return count;
}

torch::Tensor TitansWeights::Add(const std::string& name,
                                 const torch::Tensor& value) {
  named_.emplace_back(name, value.detach().clone().requires_grad_());
  return named_.back().second;
}

// So that outputs are about as large as inputs.
torch::Tensor TitansWeights::AddMatrix(const std::string& name,
                                       const std::vector<int64_t>& shape) {
  return Add(name, torch::randn(shape, options_) /
                       std::sqrt(static_cast<double>(shape.back())));
}

torch::Tensor TitansWeights::AddOnes(const std::string& name, int64_t size) {
  return Add(name, torch::ones({size}, options_));
}

void TitansWeights::AddLayer(const GateStart& start) {
  const std::string prefix = absl::StrCat("model.layers.", layers_.size(), ".");
  TitansLayer layer;
  if (titans().has_attention()) AddAttention(prefix, layer);
  if (titans().has_memory()) AddMemory(prefix, start, layer);
  if (titans().variant == TitansVariant::kMac) AddMac(prefix, layer);
  layer.ffn_norm =
      AddOnes(prefix + "post_attention_layernorm.weight", hyper_.model_dim);
  layer.ffn_gate = AddMatrix(prefix + "mlp.gate_proj.weight",
                             {hyper_.ffn_dim, hyper_.model_dim});
  layer.ffn_up = AddMatrix(prefix + "mlp.up_proj.weight",
                           {hyper_.ffn_dim, hyper_.model_dim});
  layer.ffn_down = AddMatrix(prefix + "mlp.down_proj.weight",
                             {hyper_.model_dim, hyper_.ffn_dim});
  layers_.push_back(layer);
}

void TitansWeights::AddAttention(const std::string& prefix,
                                 TitansLayer& layer) {
  const int64_t width = heads_dim();
  const std::vector<int64_t> in = {width, hyper_.model_dim};
  layer.attn_norm =
      AddOnes(prefix + "input_layernorm.weight", hyper_.model_dim);
  layer.q = AddMatrix(prefix + "self_attn.q_proj.weight", in);
  layer.k = AddMatrix(prefix + "self_attn.k_proj.weight", in);
  layer.v = AddMatrix(prefix + "self_attn.v_proj.weight", in);
  layer.output =
      AddMatrix(prefix + "self_attn.o_proj.weight", {hyper_.model_dim, width});
  if (titans().num_persistent > 0) {
    const std::vector<int64_t> rows = {
        hyper_.num_heads, titans().num_persistent, hyper_.head_dim};
    layer.persistent_k =
        Add(prefix + "persistent_k",
            torch::randn(rows, options_) * kPersistentDeviation);
    layer.persistent_v = Add(
        prefix + "persistent_v",
        torch::randn(rows, options_) * (titans().variant == TitansVariant::kMag
                                            ? kMagPersistentDeviation
                                            : kPersistentDeviation));
  }
  if (titans().is_mixed()) {
    layer.attn_mix_norm = AddOnes(prefix + "attn_mix_norm.weight", width);
  }
}

void TitansWeights::AddMemory(const std::string& prefix, const GateStart& start,
                              TitansLayer& layer) {
  const int64_t width = heads_dim();
  const std::vector<int64_t> in = {width, hyper_.model_dim};
  const bool is_mac = titans().variant == TitansVariant::kMac;
  if (!titans().is_mixed()) {
    layer.mem_norm = AddOnes(prefix + "mem_norm.weight", hyper_.model_dim);
    layer.mem_output =
        AddMatrix(prefix + "mem_output.weight", {hyper_.model_dim, width});
  }
  layer.mem_q = AddMatrix(prefix + "mem_q.weight", in);
  if (!is_mac) {
    layer.mem_k = AddMatrix(prefix + "mem_k.weight", in);
    layer.mem_v = AddMatrix(prefix + "mem_v.weight", in);
  }
  if (!is_mac && titans().conv_kernel > 1) {
    const std::vector<int64_t> taps = {width, titans().conv_kernel};
    layer.mem_q_conv = AddMatrix(prefix + "mem_q_conv.weight", taps);
    layer.mem_k_conv = AddMatrix(prefix + "mem_k_conv.weight", taps);
    layer.mem_v_conv = AddMatrix(prefix + "mem_v_conv.weight", taps);
  }
  const int64_t heads = hyper_.num_heads;
  layer.mem_gate =
      Add(prefix + "mem_gate.weight",
          torch::randn({3 * heads, hyper_.model_dim}, options_) * 0.02);
  layer.mem_gate_bias = Add(prefix + "mem_gate.bias",
                            torch::cat({torch::full({heads}, start.theta),
                                        torch::full({heads}, start.eta),
                                        torch::full({heads}, start.alpha)})
                                .to(options_));
  layer.mem_init = Add(prefix + "mem_init", InitialMemories());
  layer.mem_output_norm = AddOnes(prefix + "mem_output_norm.weight", width);
}

void TitansWeights::AddMac(const std::string& prefix, TitansLayer& layer) {
  const std::vector<int64_t> shape = {hyper_.num_heads, hyper_.head_dim,
                                      hyper_.head_dim};
  layer.mac_context_k = AddMatrix(prefix + "mac_context_k.weight", shape);
  layer.mac_context_v = AddMatrix(prefix + "mac_context_v.weight", shape);
  layer.mac_memory_q = AddMatrix(prefix + "mac_memory_q.weight", shape);
  layer.mac_memory_k = AddMatrix(prefix + "mac_memory_k.weight", shape);
  layer.mac_memory_v = AddMatrix(prefix + "mac_memory_v.weight", shape);
}

// Each matrix so that its outputs are about as large as its inputs; gamma 0.
torch::Tensor TitansWeights::InitialMemories() const {
  const MemorySpec& spec = titans().memory;
  const auto matrix = [&](int64_t rows, int64_t cols) {
    return torch::randn({hyper_.num_heads, rows * cols}, options_) /
           std::sqrt(static_cast<double>(rows));
  };
  std::vector<torch::Tensor> parts;
  for (int64_t i = 0; i < spec.num_layers; ++i) {
    const bool is_last = i + 1 == spec.num_layers;
    parts.push_back(matrix(i == 0 ? spec.head_dim : spec.hidden_dim,
                           is_last ? spec.head_dim : spec.hidden_dim));
  }
  if (spec.norm != MemoryNorm::kNone) {
    parts.push_back(torch::zeros({hyper_.num_heads, spec.head_dim}, options_));
  }
  return torch::cat(parts, 1);
}

void TitansWeights::ForbidGate(int64_t kind) {
  HEADWISE_CHECK(titans().gate_stretch > 0);
  const torch::NoGradGuard no_gradient;
  const int64_t begin = kind * hyper_.num_heads;
  const int64_t end = begin + hyper_.num_heads;
  for (TitansLayer& layer : layers_) {
    if (!layer.mem_gate.defined()) continue;
    layer.mem_gate.slice(0, begin, end).zero_();
    layer.mem_gate_bias.slice(0, begin, end).fill_(kForbidden);
  }
}

}  // namespace headwise
