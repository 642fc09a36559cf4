// The shape of a tiny model for tests.

#ifndef HEADWISE_MODEL_FILES_TEST_MODEL_OPTIONS_H_
#define HEADWISE_MODEL_FILES_TEST_MODEL_OPTIONS_H_

#include <cstdint>
#include <optional>

#include "model/hyperparameters.h"
#include "model/tensor.h"
#include "model/tokenizer/tokenizer_data.h"

namespace headwise {

// The model is a pure function of these.
struct TinyModelOptions {
  Architecture architecture = Architecture::kLlama;
  int64_t num_layers = 2;
  int64_t num_heads = 4;
  int64_t num_kv_heads = 2;  // divides num_heads
  int64_t head_dim = 16;     // multiple of 16
  // Rows must be whole blocks of the dtypes: model_dim, ffn_dim and
  // num_heads * head_dim multiples of 32 for Q*_0 and Q*_1, of 256 for Q*_K.
  int64_t model_dim = 64;
  int64_t ffn_dim = 96;
  int64_t vocab_size = 320;  // >= 288
  int64_t max_context_len = 512;
  float norm_epsilon = 1e-5f;
  DType dtype = DType::kF32;  // of the matrices; vectors are F32 in a GGUF
  std::optional<DType> embedding_dtype;  // default: dtype
  bool tied_embeddings = true;
  double rope_base = 10000.0;
  RopeScaling rope_scaling;  // kLlama3 becomes rope_freqs.weight in a GGUF
  // kBytePairEncoding, with the pre-tokenizer of the architecture's first
  // model: smollm for llama, qwen2 for qwen; or kSentencePiece.
  TokenizerKind tokenizer = TokenizerKind::kBytePairEncoding;
  // Of kTitans, which is written as safetensors alone; num_kv_heads is then
  // num_heads, memory.head_dim head_dim.
  std::optional<TitansHyperparameters> titans;
  uint64_t seed = 1;
};

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_TEST_MODEL_OPTIONS_H_
