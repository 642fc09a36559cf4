#include "model/files/test_model_writer.h"

#include <cstdio>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/files/test_model_tokenizer.h"
#include "nlohmann/json.hpp"

namespace headwise {

namespace {

const char* GgufName(Architecture architecture) {
  switch (architecture) {
    case Architecture::kLlama:
      return "llama";
    case Architecture::kQwen2:
      return "qwen2";
    case Architecture::kQwen3:
      return "qwen3";
    case Architecture::kTitans:
      break;
  }
  HEADWISE_CHECK(false && "an Architecture without a GGUF form");
}

// One float per pair: plain frequency over scaled frequency.
std::string Llama3Divisors(const Hyperparameters& hyper) {
  Rope plain = hyper.rope;
  plain.scaling = RopeScaling();
  const RopeFrequencies before = ComputeRopeFrequencies(plain);
  const RopeFrequencies after = ComputeRopeFrequencies(hyper.rope);
  std::string bytes;
  for (size_t i = 0; i < before.inverse_frequencies.size(); ++i) {
    bytes += RawBytes(static_cast<float>(before.inverse_frequencies[i] /
                                         after.inverse_frequencies[i]));
  }
  return bytes;
}

void AddScaling(const RopeScaling& scaling, const std::string& prefix,
                GgufWriter& writer) {
  if (scaling.kind == RopeScalingKind::kLinear) {
    writer.AddText(prefix + "rope.scaling.type", "linear");
    writer.AddFloat32(prefix + "rope.scaling.factor",
                      static_cast<float>(scaling.factor));
  } else if (scaling.kind == RopeScalingKind::kYarn) {
    writer.AddText(prefix + "rope.scaling.type", "yarn");
    writer.AddFloat32(prefix + "rope.scaling.factor",
                      static_cast<float>(scaling.factor));
    writer.AddUint32(prefix + "rope.scaling.original_context_length",
                     static_cast<uint32_t>(scaling.original_context_len));
  }
}

void AddHyperparameters(const TinyModelOptions& options, GgufWriter& writer) {
  const std::string architecture = GgufName(options.architecture);
  const std::string prefix = architecture + ".";
  const auto add_int = [&](const char* name, int64_t value) {
    writer.AddUint32(prefix + name, static_cast<uint32_t>(value));
  };
  writer.AddText("general.architecture", architecture);
  writer.AddText("general.name", "tiny");
  add_int("block_count", options.num_layers);
  add_int("context_length", options.max_context_len);
  add_int("embedding_length", options.model_dim);
  add_int("feed_forward_length", options.ffn_dim);
  add_int("attention.head_count", options.num_heads);
  add_int("attention.head_count_kv", options.num_kv_heads);
  add_int("attention.key_length", options.head_dim);
  add_int("attention.value_length", options.head_dim);
  add_int("rope.dimension_count", options.head_dim);
  writer.AddFloat32(prefix + "rope.freq_base",
                    static_cast<float>(options.rope_base));
  writer.AddFloat32(prefix + "attention.layer_norm_rms_epsilon",
                    options.norm_epsilon);
  AddScaling(options.rope_scaling, prefix, writer);
}

void AddTokenizer(const TinyModelOptions& options, GgufWriter& writer) {
  const TinyVocabulary vocabulary = MakeTinyVocabulary(options);
  std::vector<int32_t> types;
  for (const TokenType type : vocabulary.types) {
    types.push_back(static_cast<int32_t>(type));
  }
  if (options.tokenizer == TokenizerKind::kSentencePiece) {
    writer.AddText("tokenizer.ggml.model", "llama");
    writer.AddFloat32Array("tokenizer.ggml.scores", vocabulary.scores);
    writer.AddBool("tokenizer.ggml.add_bos_token", true);
  } else {
    writer.AddText("tokenizer.ggml.model", "gpt2");
    writer.AddText(
        "tokenizer.ggml.pre",
        options.architecture == Architecture::kLlama ? "smollm" : "qwen2");
    std::vector<std::string> merges;
    for (const auto& [left, right] : vocabulary.merges) {
      merges.push_back(left + " " + right);
    }
    writer.AddTextArray("tokenizer.ggml.merges", merges);
  }
  writer.AddTextArray("tokenizer.ggml.tokens", vocabulary.tokens);
  writer.AddInt32Array("tokenizer.ggml.token_type", types);
  const auto add_id = [&](const char* key, int32_t id) {
    writer.AddUint32(key, static_cast<uint32_t>(id));
  };
  add_id("tokenizer.ggml.bos_token_id", vocabulary.bos_id);
  add_id("tokenizer.ggml.eos_token_id", vocabulary.eos_id);
  add_id("tokenizer.ggml.unknown_token_id", vocabulary.unknown_id);
  writer.AddText("tokenizer.chat_template", kTinyChatTemplate);
}

bool IsRotated(const std::string& name) {
  return absl::StrContains(name, ".attn_q.") ||
         absl::StrContains(name, ".attn_k.");
}

}  // namespace

GgufWriter MakeTinyGguf(const TinyModelOptions& options) {
  GgufWriter writer;
  AddHyperparameters(options, writer);
  AddTokenizer(options, writer);
  if (options.rope_scaling.kind == RopeScalingKind::kLlama3) {
    writer.AddTensor("rope_freqs.weight", {options.head_dim / 2}, DType::kF32,
                     Llama3Divisors(TinyHyperparameters(options)));
  }
  for (const TinyTensor& tensor : MakeTinyWeights(options)) {
    const bool moves =
        options.architecture == Architecture::kLlama && IsRotated(tensor.name);
    const TinyTensor placed =
        moves ? Interleaved(tensor, options.head_dim) : tensor;
    writer.AddTensor(placed.name, placed.shape, placed.dtype, placed.bytes);
  }
  return writer;
}

std::string WriteTinyGguf(const TinyModelOptions& options) {
  return MakeTinyGguf(options).Finish();
}

absl::Status WriteFile(const std::string& path, const std::string& bytes) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) {
    return absl::InternalError(absl::StrCat("cannot write ", path));
  }
  const size_t written = std::fwrite(bytes.data(), 1, bytes.size(), file);
  const bool is_closed = std::fclose(file) == 0;
  if (written == bytes.size() && is_closed) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("cannot write all of ", path));
}

absl::Status WriteTinyFolder(const TinyModelOptions& options, int num_shards,
                             const std::string& folder) {
  const TinySafetensors files = WriteTinySafetensors(options);
  const std::string base = folder + "/";
  HEADWISE_RETURN_IF_ERROR(WriteFile(base + "config.json", files.config_json));
  HEADWISE_RETURN_IF_ERROR(
      WriteFile(base + "tokenizer.json", files.tokenizer_json));
  HEADWISE_RETURN_IF_ERROR(
      WriteFile(base + "tokenizer_config.json", files.tokenizer_config_json));
  if (num_shards == 1) {
    return WriteFile(base + "model.safetensors", files.model_safetensors);
  }
  std::vector<std::vector<TinyTensor>> shards(num_shards);
  nlohmann::json weight_map = nlohmann::json::object();
  size_t next = 0;
  for (TinyTensor& tensor : MakeTinyHfTensors(options)) {
    const size_t shard = next++ % shards.size();
    weight_map[tensor.name] = absl::StrFormat("model-%05d-of-%05d.safetensors",
                                              shard + 1, shards.size());
    shards[shard].push_back(std::move(tensor));
  }
  for (const std::vector<TinyTensor>& shard : shards) {
    if (shard.empty()) continue;
    const std::string name = weight_map[shard[0].name].get<std::string>();
    HEADWISE_RETURN_IF_ERROR(WriteFile(base + name, WriteSafetensors(shard)));
  }
  const nlohmann::json index = {{"weight_map", weight_map}};
  return WriteFile(base + "model.safetensors.index.json", index.dump());
}

}  // namespace headwise
