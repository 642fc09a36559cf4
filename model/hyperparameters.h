// What a model's shape is, whatever file it came from.

#ifndef HEADWISE_MODEL_HYPERPARAMETERS_H_
#define HEADWISE_MODEL_HYPERPARAMETERS_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/memory_spec.h"

namespace headwise {

enum class Architecture { kLlama, kQwen2, kQwen3, kTitans };

// Which two channels form a rotated pair i of a head's rotary_dim channels.
enum class RopeLayout {
  kInterleaved,  // (2i, 2i + 1): llama-family GGUF files
  kHalfSplit,    // (i, i + rotary_dim / 2): qwen GGUF files, all safetensors
};

enum class RopeScalingKind { kNone, kLinear, kYarn, kLlama3 };

struct RopeScaling {
  RopeScalingKind kind = RopeScalingKind::kNone;
  double factor = 1.0;               // > 0
  int64_t original_context_len = 0;  // tokens; YaRN and Llama 3 only
  double beta_fast = 32.0;           // YaRN
  double beta_slow = 1.0;            // YaRN
  double attention_factor = 0.0;     // YaRN; 0: 0.1 ln(factor) + 1
  double low_freq_factor = 1.0;      // Llama 3
  double high_freq_factor = 4.0;     // Llama 3
};

struct Rope {
  RopeLayout layout = RopeLayout::kInterleaved;
  double base = 10000.0;
  int64_t rotary_dim = 0;  // channels rotated; even, <= head_dim
  RopeScaling scaling;
  // Divisors of the plain frequencies, [rotary_dim / 2], or empty (a Llama-3
  // GGUF file carries them as the tensor rope_freqs.weight).
  std::vector<double> frequency_divisors;
};

// Angle of pair i at position p: p * inverse_frequencies[i], in double. Rotated
// queries and keys are multiplied by `magnitude` (YaRN; else 1).
struct RopeFrequencies {
  std::vector<double> inverse_frequencies;  // [rotary_dim / 2]
  double magnitude = 1.0;
};
RopeFrequencies ComputeRopeFrequencies(const Rope& rope);

// How a layer joins attention and neural memory (docs/titans-models.md).
enum class TitansVariant : uint8_t {
  kMac,  // what memory reads is context of the attention, whose output it
         // learns
  kMag,  // memory gates attention
  kMal,  // memory, then attention
  kLmm,  // memory alone
  kSwa,  // attention alone
};

struct TitansHyperparameters {
  TitansVariant variant = TitansVariant::kMal;
  // Positions that a query sees, its own included; kMac: of a segment, which is
  // a chunk of the memory. 0 for kLmm.
  int64_t window = 0;
  int64_t num_persistent = 0;  // learned rows that every query sees
  int64_t conv_kernel = 1;     // taps after the memory's projections; 1: none
  float gate_stretch = 0.0f;
  float theta_max = 0.0f;
  MemorySpec memory;  // of each head; not of kSwa

  bool has_attention() const { return variant != TitansVariant::kLmm; }
  bool has_memory() const { return variant != TitansVariant::kSwa; }
  // Whether memory is a part of the attention's block, not a block of its own.
  bool is_mixed() const {
    return variant == TitansVariant::kMac || variant == TitansVariant::kMag;
  }
  // theta (gate 0), eta (1) or alpha (2) of a token; `sigmoid` is that of its
  // row of the gates' projection (docs/titans-models.md).
  float GateOf(int64_t gate, float sigmoid) const {
    const float width = 1.0f + 2.0f * gate_stretch;
    return (gate == 0 ? theta_max : 1.0f) *
           std::clamp(width * sigmoid - gate_stretch, 0.0f, 1.0f);
  }
  // The most bytes that one head's memory of one sequence holds, at any length:
  // weights, momentum, the rows of an open chunk and what is worked out for
  // them, the last inputs of the convolutions; kMac: keys and values of the
  // segment's context rows, in blocks of 64.
  int64_t state_bytes() const {
    if (!has_memory()) return 0;
    const int64_t dim = memory.head_dim;
    // Inputs of all layers of one row; as many outputs.
    const int64_t width = dim + (memory.num_layers - 1) * memory.hidden_dim;
    int64_t floats = 3 * memory.num_weights() +  // the third transposed
                     memory.chunk_len * (2 * dim + 3) +
                     memory.chunk_len * (3 * width + dim) +
                     3 * (conv_kernel - 1) * dim;
    if (variant == TitansVariant::kMac) {
      floats += (window + 63) / 64 * 64 * 2 * dim;
    }
    return floats * 4;
  }
};

struct Hyperparameters {
  Architecture architecture = Architecture::kLlama;
  std::string name;
  int64_t num_layers = 0;
  int64_t num_heads = 0;     // query heads
  int64_t num_kv_heads = 0;  // divides num_heads
  int64_t head_dim = 0;
  int64_t model_dim = 0;
  int64_t ffn_dim = 0;
  int64_t vocab_size = 0;
  int64_t max_context_len = 0;  // tokens the model was trained for
  float norm_epsilon = 1e-5f;
  Rope rope;
  bool qkv_bias = false;         // blk.N.attn_{q,k,v}.bias exist
  bool qk_norm = false;          // blk.N.attn_{q,k}_norm.weight exist
  bool tied_embeddings = false;  // output.weight is token_embd.weight
  std::optional<TitansHyperparameters> titans;  // kTitans, and no other

  int64_t heads_per_kv_head() const { return num_heads / num_kv_heads; }
  // Channels of what the KV cache keeps; 0 where a layer has no attention.
  int64_t kv_head_dim() const {
    return titans && !titans->has_attention() ? 0 : head_dim;
  }
  // Bytes that a unit holds for one sequence beside its KV.
  int64_t unit_state_bytes() const {
    return titans ? titans->state_bytes() : 0;
  }
};

}  // namespace headwise

#endif  // HEADWISE_MODEL_HYPERPARAMETERS_H_
