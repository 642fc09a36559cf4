// Writes the kept corpora: write_fuzz_corpus FOLDER fills FOLDER/gguf_corpus
// and FOLDER/safetensors_corpus. Deterministic; run it again when the tiny
// models change. Files are small so that the fuzzer is fast: one layer, one
// head pair.

#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/files/test_model_writer.h"

namespace {

using headwise::Architecture;
using headwise::DType;
using headwise::RawBytes;
using headwise::RopeScalingKind;
using headwise::TinyModelOptions;
using headwise::TokenizerKind;

TinyModelOptions Smallest() {
  TinyModelOptions options;
  options.num_layers = 1;
  options.num_heads = 2;
  options.num_kv_heads = 1;
  options.model_dim = 32;
  options.ffn_dim = 32;
  options.vocab_size = 288;
  return options;
}

std::vector<std::pair<std::string, TinyModelOptions>> Seeds() {
  std::vector<std::pair<std::string, TinyModelOptions>> seeds;
  TinyModelOptions options = Smallest();
  options.dtype = DType::kQ4_1;
  seeds.emplace_back("llama_q4_1", options);
  options.dtype = DType::kQ5_0;
  options.rope_scaling = {};
  options.rope_scaling.kind = RopeScalingKind::kLlama3;
  options.rope_scaling.factor = 4;
  options.rope_scaling.original_context_len = 64;
  seeds.emplace_back("llama3_q5_0", options);
  options = Smallest();
  options.architecture = Architecture::kQwen2;
  options.dtype = DType::kBF16;
  options.rope_scaling.kind = RopeScalingKind::kYarn;
  options.rope_scaling.factor = 2;
  options.rope_scaling.original_context_len = 64;
  seeds.emplace_back("qwen2_yarn_bf16", options);
  options = Smallest();
  options.architecture = Architecture::kQwen3;
  options.dtype = DType::kF16;
  options.tied_embeddings = false;
  options.rope_scaling.kind = RopeScalingKind::kLinear;
  options.rope_scaling.factor = 2;
  seeds.emplace_back("qwen3_linear_f16", options);
  options = Smallest();
  options.dtype = DType::kQ4_0;
  options.tokenizer = TokenizerKind::kSentencePiece;
  options.vocab_size = 300;
  seeds.emplace_back("sentencepiece_q4_0", options);
  return seeds;
}

std::string JoinFolder(const TinyModelOptions& options) {
  const headwise::TinySafetensors tiny =
      headwise::WriteTinySafetensors(options);
  std::string joined;
  for (const std::string* file :
       {&tiny.config_json, &tiny.tokenizer_json, &tiny.tokenizer_config_json}) {
    joined += RawBytes(static_cast<uint32_t>(file->size())) + *file;
  }
  return joined + tiny.model_safetensors;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  for (const auto& [name, options] : Seeds()) {
    const std::string gguf =
        absl::StrCat(argv[1], "/gguf_corpus/", name, ".gguf");
    const std::string joined =
        absl::StrCat(argv[1], "/safetensors_corpus/", name, ".bin");
    for (const absl::Status& status :
         {headwise::WriteFile(gguf, headwise::WriteTinyGguf(options)),
          headwise::WriteFile(joined, JoinFolder(options))}) {
      if (!status.ok()) {
        std::fprintf(stderr, "%s\n", status.ToString().c_str());
        return 1;
      }
    }
  }
  return 0;
}
