#include "model/files/safetensors_model.h"

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/hf_tensor_names.h"
#include "model/files/test_bytes.h"
#include "model/files/test_model_tokenizer.h"
#include "model/files/test_model_writer.h"
#include "nlohmann/json.hpp"

namespace headwise {
namespace {

using Json = nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

// The four files with the memory that a SafetensorsFiles views.
class Files {
 public:
  explicit Files(const TinySafetensors& tiny)
      : model_(tiny.model_safetensors),
        config_(tiny.config_json),
        tokenizer_(tiny.tokenizer_json),
        tokenizer_config_(tiny.tokenizer_config_json) {
    files_.shards.push_back({"model.safetensors", model_.span()});
    files_.config_json = config_.span();
    files_.tokenizer_json = tokenizer_.span();
    files_.tokenizer_config_json = tokenizer_config_.span();
  }
  SafetensorsFiles& files() { return files_; }
  absl::StatusOr<ModelParts> Parse() const {
    return ParseSafetensorsModel(files_);
  }

 private:
  TestBytes model_, config_, tokenizer_, tokenizer_config_;
  SafetensorsFiles files_;
};

void ExpectError(const TinySafetensors& tiny, absl::StatusCode code,
                 const std::string& words) {
  const Files files(tiny);
  const auto result = files.Parse();
  ASSERT_FALSE(result.ok()) << words;
  EXPECT_EQ(result.status().code(), code) << result.status();
  EXPECT_THAT(std::string(result.status().message()), HasSubstr(words));
}

using Change = std::function<void(Json&)>;
void ExpectBadConfig(const Change& change, absl::StatusCode code,
                     const std::string& words) {
  TinySafetensors tiny = WriteTinySafetensors({});
  Json config = Json::parse(tiny.config_json);
  change(config);
  tiny.config_json = config.dump();
  ExpectError(tiny, code, words);
}
void ExpectInvalidConfig(const char* key, const Json& value,
                         const std::string& words) {
  ExpectBadConfig([&](Json& config) { config[key] = value; },
                  absl::StatusCode::kInvalidArgument, words);
}
void ExpectUnimplementedConfig(const char* key, const Json& value,
                               const std::string& words) {
  ExpectBadConfig([&](Json& config) { config[key] = value; },
                  absl::StatusCode::kUnimplemented, words);
}

class TinySafetensorsTest : public testing::TestWithParam<Architecture> {};

TEST_P(TinySafetensorsTest, EqualsTheGgufModelInAllButTheRowOrder) {
  TinyModelOptions options;
  options.architecture = GetParam();
  options.tied_embeddings = false;
  options.dtype = DType::kBF16;
  options.rope_scaling = {.kind = RopeScalingKind::kYarn,
                          .factor = 2.0,
                          .original_context_len = 256};
  const Files files(WriteTinySafetensors(options));
  const auto parts = files.Parse();
  ASSERT_TRUE(parts.ok()) << parts.status();
  const Hyperparameters& hyper = parts->hyperparameters;
  EXPECT_EQ(hyper.architecture, options.architecture);
  EXPECT_EQ(hyper.name, "tiny");
  EXPECT_EQ(hyper.rope.layout, RopeLayout::kHalfSplit);
  EXPECT_EQ(hyper.rope.rotary_dim, options.head_dim);
  EXPECT_EQ(hyper.rope.scaling.kind, RopeScalingKind::kYarn);
  EXPECT_EQ(hyper.rope.scaling.original_context_len, 256);
  EXPECT_EQ(hyper.qkv_bias, options.architecture == Architecture::kQwen2);
  EXPECT_EQ(hyper.qk_norm, options.architecture == Architecture::kQwen3);
  EXPECT_EQ(hyper.norm_epsilon, options.norm_epsilon);
  const std::vector<TinyTensor> weights = MakeTinyWeights(options);
  ASSERT_EQ(parts->tensors.size(), weights.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    const TensorView& tensor = parts->tensors[i];
    EXPECT_EQ(tensor.name, weights[i].name);
    EXPECT_EQ(tensor.shape, weights[i].shape);
    EXPECT_EQ(tensor.bytes, weights[i].View().bytes) << tensor.name;
  }
}

TEST_P(TinySafetensorsTest, ReadsTheByteLevelTokenizer) {
  TinyModelOptions options;
  options.architecture = GetParam();
  options.vocab_size = 1100;  // more than there are tokens
  const Files files(WriteTinySafetensors(options));
  const auto parts = files.Parse();
  ASSERT_TRUE(parts.ok()) << parts.status();
  const TokenizerData& data = parts->tokenizer;
  const TinyVocabulary expected = MakeTinyVocabulary(options);
  const bool is_llama = options.architecture == Architecture::kLlama;
  EXPECT_EQ(data.kind, TokenizerKind::kBytePairEncoding);
  EXPECT_EQ(data.pre_tokenizer,
            is_llama ? PreTokenizer::kSmollm : PreTokenizer::kQwen2);
  EXPECT_EQ(data.normalize_nfc, !is_llama);
  EXPECT_EQ(std::vector<std::string>(data.tokens.begin(), data.tokens.end()),
            expected.tokens);
  EXPECT_EQ(data.types, expected.types);
  ASSERT_EQ(data.merges.size(), expected.merges.size());
  for (size_t i = 0; i < data.merges.size(); ++i) {
    EXPECT_EQ(data.merges[i], absl::StrCat(expected.merges[i].first, " ",
                                           expected.merges[i].second));
  }
  EXPECT_EQ(data.bos_id, 1);
  EXPECT_EQ(data.eos_id, 2);
  EXPECT_EQ(data.unknown_id, 0);
  EXPECT_FALSE(data.add_bos);
  EXPECT_THAT(data.end_of_turn_ids, ElementsAre(0));
  EXPECT_EQ(parts->chat_template, kTinyChatTemplate);
}

INSTANTIATE_TEST_SUITE_P(Architectures, TinySafetensorsTest,
                         testing::Values(Architecture::kLlama,
                                         Architecture::kQwen2,
                                         Architecture::kQwen3));

TEST(SafetensorsModel, TiedEmbeddingsLeaveASuperfluousHeadOut) {
  TinyModelOptions options;
  options.tied_embeddings = false;
  TinySafetensors tiny = WriteTinySafetensors(options);
  Json config = Json::parse(tiny.config_json);
  config["tie_word_embeddings"] = true;
  tiny.config_json = config.dump();
  const Files files(tiny);
  const auto parts = files.Parse();
  ASSERT_TRUE(parts.ok()) << parts.status();
  EXPECT_TRUE(parts->hyperparameters.tied_embeddings);
  for (const TensorView& tensor : parts->tensors) {
    EXPECT_NE(tensor.name, "output.weight");
  }
}

TEST(SafetensorsModel, ReadsRopeParametersOfNewerFiles) {
  TinySafetensors tiny = WriteTinySafetensors({});
  Json config = Json::parse(tiny.config_json);
  config.erase("rope_theta");
  config.erase("rope_scaling");
  config["rope_parameters"] = {
      {"rope_type", "llama3"},   {"rope_theta", 500000.0},
      {"factor", 8.0},           {"low_freq_factor", 1.5},
      {"high_freq_factor", 5.0}, {"original_max_position_embeddings", 100}};
  tiny.config_json = config.dump();
  const Files files(tiny);
  const auto parts = files.Parse();
  ASSERT_TRUE(parts.ok()) << parts.status();
  const Rope& rope = parts->hyperparameters.rope;
  EXPECT_EQ(rope.base, 500000.0);
  EXPECT_EQ(rope.scaling.kind, RopeScalingKind::kLlama3);
  EXPECT_EQ(rope.scaling.factor, 8.0);
  EXPECT_EQ(rope.scaling.low_freq_factor, 1.5);
  EXPECT_EQ(rope.scaling.high_freq_factor, 5.0);
  EXPECT_EQ(rope.scaling.original_context_len, 100);
}

TEST(SafetensorsModel, DefaultsOfConfig) {
  TinyModelOptions options;
  options.num_kv_heads = options.num_heads;
  TinySafetensors tiny = WriteTinySafetensors(options);
  Json config = Json::parse(tiny.config_json);
  for (const char* key :
       {"num_key_value_heads", "head_dim", "rope_theta", "hidden_act"}) {
    config.erase(key);
  }
  config["model_type"] = "mistral";
  config["sliding_window"] = 99;
  tiny.config_json = config.dump();
  const Files files(tiny);
  const auto parts = files.Parse();
  ASSERT_TRUE(parts.ok()) << parts.status();
  EXPECT_EQ(parts->hyperparameters.num_kv_heads, 4);
  EXPECT_EQ(parts->hyperparameters.head_dim, 16);
  EXPECT_EQ(parts->hyperparameters.rope.base, 10000.0);
  EXPECT_EQ(parts->hyperparameters.max_context_len, 99);
}

TEST(SafetensorsModelHostile, ConfigsAreCheckedLikeGgufKeys) {
  ExpectInvalidConfig("num_hidden_layers", 1025, "layer count is 1025");
  ExpectInvalidConfig("num_hidden_layers", "2", "\"num_hidden_layers\"");
  ExpectInvalidConfig("num_hidden_layers", nullptr, "is missing");
  ExpectInvalidConfig("num_attention_heads", 0, "head count is 0");
  ExpectInvalidConfig("num_key_value_heads", 3, "3 does not divide head count");
  ExpectInvalidConfig("head_dim", 24, "24 is not a multiple of 16");
  ExpectInvalidConfig("hidden_size", -64, "model dimension is -64");
  ExpectInvalidConfig("vocab_size", 1 << 22, "vocabulary size is 4194304");
  ExpectInvalidConfig("rms_norm_eps", 0, "norm epsilon");
  ExpectInvalidConfig("rope_theta", -1.0, "RoPE base");
  ExpectInvalidConfig("rope_scaling", {{"type", "linear"}}, "\"factor\"");
  ExpectInvalidConfig("rope_scaling", 3, "want an object");
  ExpectInvalidConfig("rope_scaling",
                      {{"type", "llama3"},
                       {"factor", 2.0},
                       {"low_freq_factor", 4.0},
                       {"high_freq_factor", 4.0}},
                      "is not below high_freq_factor");
  ExpectInvalidConfig("eos_token_id", 320, "eos_token_id 320 is outside");
  ExpectInvalidConfig("eos_token_id", "x", "want an integer or a list");
}

TEST(SafetensorsModelHostile, NamesWhatItDoesNotHave) {
  ExpectUnimplementedConfig("model_type", "gpt_neox", "\"gpt_neox\"");
  ExpectUnimplementedConfig("model_type", nullptr, "(absent)");
  ExpectUnimplementedConfig("hidden_act", "gelu", "hidden_act \"gelu\"");
  ExpectUnimplementedConfig("quantization_config", {{"quant_method", "awq"}},
                            "\"quantization_config\" is set");
  ExpectUnimplementedConfig("partial_rotary_factor", 0.5, "0.5");
  ExpectUnimplementedConfig("rope_scaling",
                            {{"type", "dynamic"}, {"factor", 2.0}},
                            "RoPE scaling \"dynamic\"");
  ExpectUnimplementedConfig("rope_scaling",
                            {{"type", "yarn"}, {"factor", 2}, {"mscale", 1}},
                            "\"mscale\" is set");
}

TEST(SafetensorsModelHostile, MissingAndUnknownTensors) {
  std::vector<TinyTensor> tensors = MakeTinyHfTensors({});
  TinySafetensors tiny = WriteTinySafetensors({});
  const TinyTensor last = tensors.back();
  tensors.pop_back();
  tiny.model_safetensors = WriteSafetensors(tensors);
  ExpectError(tiny, absl::StatusCode::kInvalidArgument,
              "\"blk.1.ffn_down.weight\" of shape [64, 96] is missing");
  tensors.push_back(last);
  tensors.back().name = "model.layers.1.mlp.experts.weight";
  tiny.model_safetensors = WriteSafetensors(tensors);
  ExpectError(tiny, absl::StatusCode::kUnimplemented,
              "\"model.layers.1.mlp.experts.weight\"");
  tensors.back().name = "model.layers.01.mlp.down_proj.weight";
  tiny.model_safetensors = WriteSafetensors(tensors);
  ExpectError(tiny, absl::StatusCode::kInvalidArgument,
              "\"blk.1.ffn_down.weight\"");
}

TEST(SafetensorsModelHostile, ContentsThatAreNoObjects) {
  for (std::string TinySafetensors::*file :
       {&TinySafetensors::config_json, &TinySafetensors::tokenizer_json,
        &TinySafetensors::tokenizer_config_json}) {
    for (const char* text : {"[]", "1", "{", "\"x\""}) {
      TinySafetensors tiny = WriteTinySafetensors({});
      tiny.*file = text;
      ExpectError(tiny, absl::StatusCode::kInvalidArgument, ".json");
    }
  }
}

TEST(SafetensorsModelHostile, DeepJson) {
  TinySafetensors tiny = WriteTinySafetensors({});
  std::string deep = "{\"a\":" + std::string(500'000, '[');
  tiny.config_json = deep;
  ExpectError(tiny, absl::StatusCode::kInvalidArgument, "nesting exceeds");
  tiny = WriteTinySafetensors({});
  tiny.tokenizer_json = deep;
  ExpectError(tiny, absl::StatusCode::kInvalidArgument, "nesting exceeds");
}

TEST(SafetensorsIndex, MapsTensorsToPlainFileNames) {
  const TestBytes good(std::string(
      R"({"metadata":{"total_size":1},"weight_map":{"a":"x.st","b":"y.st"}})"));
  const auto index = ParseSafetensorsIndex(good.span());
  ASSERT_TRUE(index.ok()) << index.status();
  EXPECT_EQ(index->at("a"), "x.st");
  EXPECT_EQ(index->at("b"), "y.st");
  for (const char* name : {"../x", "/etc/passwd", "a/b", "..", ".", ""}) {
    const TestBytes bytes(Json{{"weight_map", {{"t", name}}}}.dump());
    const auto result = ParseSafetensorsIndex(bytes.span());
    ASSERT_FALSE(result.ok()) << name;
    EXPECT_THAT(std::string(result.status().message()),
                HasSubstr("is not a plain file name"));
  }
  for (const char* text :
       {"{}", R"({"weight_map":{}})", R"({"weight_map":[]})",
        R"({"weight_map":{"t":1}})", R"({"weight_map":{"t":"x","t":"y"}})"}) {
    const TestBytes bytes{absl::string_view(text)};
    EXPECT_EQ(ParseSafetensorsIndex(bytes.span()).status().code(),
              absl::StatusCode::kInvalidArgument)
        << text;
  }
}

TEST(SafetensorsIndex, MustAgreeWithTheShards) {
  Files files(WriteTinySafetensors({}));
  for (const TinyTensor& tensor : MakeTinyHfTensors({})) {
    files.files().shard_of_tensor[tensor.name] = "model.safetensors";
  }
  EXPECT_TRUE(files.Parse().ok());
  const auto message = [&] {
    return std::string(files.Parse().status().message());
  };
  files.files().shard_of_tensor["lm_head.weight"] = "model.safetensors";
  EXPECT_THAT(message(), HasSubstr("\"lm_head.weight\" is not in shard"));
  files.files().shard_of_tensor.erase("lm_head.weight");
  files.files().shard_of_tensor["model.norm.weight"] = "other";
  EXPECT_THAT(message(), HasSubstr("the index says otherwise"));
  files.files().shard_of_tensor.erase("model.norm.weight");
  EXPECT_THAT(message(), HasSubstr("the index says otherwise"));
  files.files().shard_of_tensor.clear();
  files.files().shards.push_back(files.files().shards[0]);
  EXPECT_THAT(message(), HasSubstr("is in two shards"));
}

TEST(HfTensorNames, CoverEveryTensorAndNothingElse) {
  EXPECT_EQ(*GgufNameOf("model.layers.12.self_attn.k_norm.weight"),
            "blk.12.attn_k_norm.weight");
  EXPECT_EQ(*GgufNameOf("model.layers.0.self_attn.rotary_emb.inv_freq"), "");
  for (const char* name :
       {"", "model.layers.", "model.layers.1",
        "model.layers..mlp.up_proj.weight",
        "model.layers.-1.mlp.up_proj.weight", "blk.0.attn_q.weight",
        "model.layers.1.mlp.up_proj.bias",
        "model.layers.1.mlp.up_proj.weight "}) {
    EXPECT_EQ(GgufNameOf(name).status().code(),
              absl::StatusCode::kUnimplemented)
        << name;
  }
}

}  // namespace
}  // namespace headwise
