// The Hugging Face half of test_model_writer.h.

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "model/files/test_model_tokenizer.h"
#include "model/files/test_model_writer.h"
#include "nlohmann/json.hpp"

namespace headwise {

namespace {

using Json = nlohmann::json;

std::string HfName(const std::string& gguf_name) {
  static const auto& names = *new std::map<std::string, std::string>{
      {"token_embd", "model.embed_tokens"},
      {"output", "lm_head"},
      {"output_norm", "model.norm"},
      {"attn_norm", "input_layernorm"},
      {"attn_q", "self_attn.q_proj"},
      {"attn_k", "self_attn.k_proj"},
      {"attn_v", "self_attn.v_proj"},
      {"attn_output", "self_attn.o_proj"},
      {"attn_q_norm", "self_attn.q_norm"},
      {"attn_k_norm", "self_attn.k_norm"},
      {"ffn_norm", "post_attention_layernorm"},
      {"ffn_gate", "mlp.gate_proj"},
      {"ffn_up", "mlp.up_proj"},
      {"ffn_down", "mlp.down_proj"}};
  const std::vector<std::string> parts = absl::StrSplit(gguf_name, '.');
  if (parts.size() > 2 && names.count(parts[2]) == 0) {  // of titans models
    return absl::StrCat("model.layers.",
                        absl::StrJoin(parts.begin() + 1, parts.end(), "."));
  }
  if (parts.size() == 2) {
    return absl::StrCat(names.at(parts[0]), ".", parts[1]);
  }
  HEADWISE_CHECK(parts.size() == 4);  // blk.N.name.weight
  return absl::StrCat("model.layers.", parts[1], ".", names.at(parts[2]), ".",
                      parts[3]);
}

const char* ModelType(Architecture architecture) {
  switch (architecture) {
    case Architecture::kLlama:
      return "llama";
    case Architecture::kQwen2:
      return "qwen2";
    case Architecture::kQwen3:
      return "qwen3";
    case Architecture::kTitans:
      return "titans";
  }
  HEADWISE_CHECK(false && "an Architecture outside its enumerators");
}

Json ScalingJson(const RopeScaling& scaling) {
  switch (scaling.kind) {
    case RopeScalingKind::kNone:
      return nullptr;
    case RopeScalingKind::kLinear:
      return {{"type", "linear"}, {"factor", scaling.factor}};
    case RopeScalingKind::kYarn:
      return {
          {"rope_type", "yarn"},
          {"factor", scaling.factor},
          {"original_max_position_embeddings", scaling.original_context_len}};
    case RopeScalingKind::kLlama3:
      return {
          {"rope_type", "llama3"},
          {"factor", scaling.factor},
          {"low_freq_factor", scaling.low_freq_factor},
          {"high_freq_factor", scaling.high_freq_factor},
          {"original_max_position_embeddings", scaling.original_context_len}};
  }
  HEADWISE_CHECK(false && "a RopeScalingKind outside its enumerators");
}

Json TitansJson(const TitansHyperparameters& titans) {
  constexpr const char* kVariants[] = {"mac", "mag", "mal", "lmm", "swa"};
  constexpr const char* kActivations[] = {"silu", "gelu"};
  constexpr const char* kNorms[] = {"none", "layer", "rms"};
  const MemorySpec& memory = titans.memory;
  return {{"variant", kVariants[static_cast<int>(titans.variant)]},
          {"window", titans.window},
          {"num_persistent", titans.num_persistent},
          {"conv_kernel", titans.conv_kernel},
          {"gate_stretch", titans.gate_stretch},
          {"theta_max", titans.theta_max},
          {"memory",
           {{"num_layers", memory.num_layers},
            {"hidden_dim", memory.hidden_dim},
            {"activation", kActivations[static_cast<int>(memory.activation)]},
            {"norm", kNorms[static_cast<int>(memory.norm)]},
            {"residual", memory.residual},
            {"chunk_len", memory.chunk_len},
            {"loss_scale", memory.loss_scale},
            {"max_norm", memory.max_norm}}}};
}

Json ConfigJson(const TinyModelOptions& options) {
  Json json = {{"model_type", ModelType(options.architecture)},
               {"_name_or_path", "tiny"},
               {"hidden_act", "silu"},
               {"hidden_size", options.model_dim},
               {"intermediate_size", options.ffn_dim},
               {"num_hidden_layers", options.num_layers},
               {"num_attention_heads", options.num_heads},
               {"num_key_value_heads", options.num_kv_heads},
               {"head_dim", options.head_dim},
               {"vocab_size", options.vocab_size},
               {"max_position_embeddings", options.max_context_len},
               {"rms_norm_eps", options.norm_epsilon},
               {"rope_theta", options.rope_base},
               {"rope_scaling", ScalingJson(options.rope_scaling)},
               {"tie_word_embeddings", options.tied_embeddings},
               {"eos_token_id", 2}};
  if (options.titans) json["titans"] = TitansJson(*options.titans);
  return json;
}

// The regular expression of Qwen 2's tokenizer.json.
constexpr char kQwen2Words[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

void AddByteLevelRules(const TinyModelOptions& options, Json& json) {
  const bool is_llama = options.architecture == Architecture::kLlama;
  const Json bytes = {{"type", "ByteLevel"},
                      {"add_prefix_space", false},
                      {"trim_offsets", true},
                      {"use_regex", is_llama}};
  const Json digits = {{"type", "Digits"}, {"individual_digits", true}};
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", kQwen2Words}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  json["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers", Json::array({is_llama ? digits : split, bytes})}};
  if (!is_llama) json["normalizer"] = {{"type", "NFC"}};
}

void AddSentencePieceRules(const std::string& mark, Json& json) {
  const Json prepend = {{"type", "Prepend"}, {"prepend", mark}};
  const Json replace = {
      {"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", mark}};
  json["normalizer"] = {{"type", "Sequence"},
                        {"normalizers", Json::array({prepend, replace})}};
  const Json single =
      Json::array({{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
                   {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}});
  json["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", single},
      {"pair", single},
      {"special_tokens",
       {{"<s>", {{"id", "<s>"}, {"ids", {1}}, {"tokens", {"<s>"}}}}}}};
  json["model"]["byte_fallback"] = true;
}

// Merges in the pair form for SentencePiece and in the text form else, so that
// both are read somewhere.
Json TokenizerJson(const TinyModelOptions& options) {
  const TinyVocabulary vocabulary = MakeTinyVocabulary(options);
  const bool is_sentence_piece =
      options.tokenizer == TokenizerKind::kSentencePiece;
  Json vocab = Json::object();
  Json added = Json::array();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const TokenType type = vocabulary.types[id];
    const std::string& token = vocabulary.tokens[id];
    if (type == TokenType::kUnused) continue;
    if (type == TokenType::kControl || type == TokenType::kUnknown) {
      added.push_back({{"id", id},
                       {"content", token},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", true}});
    }
    vocab[token] = id;
  }
  Json merges = Json::array();
  for (const auto& [left, right] : vocabulary.merges) {
    merges.push_back(is_sentence_piece ? Json::array({left, right})
                                       : Json(left + " " + right));
  }
  Json json = {
      {"added_tokens", added},
      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
  if (is_sentence_piece) {
    AddSentencePieceRules("\xe2\x96\x81", json);
  } else {
    AddByteLevelRules(options, json);
  }
  return json;
}

Json TokenizerConfigJson(const TinyModelOptions& options) {
  const TinyVocabulary vocabulary = MakeTinyVocabulary(options);
  return {{"bos_token", vocabulary.tokens[vocabulary.bos_id]},
          {"eos_token", {{"content", vocabulary.tokens[vocabulary.eos_id]}}},
          {"unk_token", vocabulary.tokens[vocabulary.unknown_id]},
          {"chat_template", std::string(kTinyChatTemplate)}};
}

}  // namespace

std::vector<TinyTensor> MakeTinyHfTensors(const TinyModelOptions& options) {
  std::vector<TinyTensor> tensors;
  for (const TinyTensor& tensor : MakeTinyWeights(options)) {
    const bool is_float = InfoOf(tensor.dtype).block_len == 1;
    tensors.push_back(Converted(tensor, is_float ? tensor.dtype : DType::kF32));
    tensors.back().name = HfName(tensor.name);
  }
  return tensors;
}

std::string WriteSafetensors(const std::string& header,
                             const std::string& buffer) {
  return RawText(header) + buffer;
}

std::string WriteSafetensors(const std::vector<TinyTensor>& tensors) {
  Json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string buffer;
  for (const TinyTensor& tensor : tensors) {
    const size_t begin = buffer.size();
    buffer += tensor.bytes;
    header[tensor.name] = {{"dtype", InfoOf(tensor.dtype).name},
                           {"shape", tensor.shape},
                           {"data_offsets", {begin, buffer.size()}}};
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');  // aligns the buffer
  return WriteSafetensors(text, buffer);
}

TinySafetensors WriteTinySafetensors(const TinyModelOptions& options) {
  TinySafetensors files;
  files.model_safetensors = WriteSafetensors(MakeTinyHfTensors(options));
  files.config_json = ConfigJson(options).dump();
  files.tokenizer_json = TokenizerJson(options).dump();
  files.tokenizer_config_json = TokenizerConfigJson(options).dump();
  return files;
}

}  // namespace headwise
