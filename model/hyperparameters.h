// What a model's shape is, whatever file it came from.

#ifndef HEADWISE_MODEL_HYPERPARAMETERS_H_
#define HEADWISE_MODEL_HYPERPARAMETERS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace headwise {

enum class Architecture { kLlama, kQwen2, kQwen3 };

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

  int64_t heads_per_kv_head() const { return num_heads / num_kv_heads; }
};

}  // namespace headwise

#endif  // HEADWISE_MODEL_HYPERPARAMETERS_H_
