// Titans models as files: what is read, and what is refused.

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/required_tensors.h"
#include "model/files/safetensors_model.h"
#include "model/files/test_bytes.h"
#include "model/files/test_model_writer.h"
#include "model/files/test_titans.h"
#include "nlohmann/json.hpp"

namespace headwise {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

// As unlike the defaults as may be.
TinyModelOptions TitansOptions(TitansVariant variant) {
  TinyModelOptions options;
  options.architecture = Architecture::kTitans;
  options.num_kv_heads = options.num_heads;
  TitansHyperparameters& titans = options.titans.emplace();
  titans.variant = variant;
  titans.window = 32;
  titans.num_persistent = 3;
  titans.conv_kernel = variant == TitansVariant::kMac ? 1 : 4;
  titans.gate_stretch = 0.125f;
  titans.theta_max = 0.5f;
  titans.memory.head_dim = 16;
  titans.memory.num_layers = 3;
  titans.memory.hidden_dim = 48;
  titans.memory.activation = MemoryActivation::kGelu;
  titans.memory.norm = MemoryNorm::kRms;
  titans.memory.residual = false;
  titans.memory.chunk_len = 32;
  titans.memory.loss_scale = 0.5f;
  titans.memory.max_norm = 100.0f;
  return options;
}

absl::StatusOr<ModelParts> Parse(const TinySafetensors& tiny) {
  const TestBytes model(tiny.model_safetensors), config(tiny.config_json),
      tokenizer(tiny.tokenizer_json),
      tokenizer_config(tiny.tokenizer_config_json);
  SafetensorsFiles files;
  files.shards.push_back({"model.safetensors", model.span()});
  files.config_json = config.span();
  files.tokenizer_json = tokenizer.span();
  files.tokenizer_config_json = tokenizer_config.span();
  return ParseSafetensorsModel(files);
}

void ExpectError(const TinySafetensors& tiny, absl::StatusCode code,
                 const std::string& words) {
  const absl::Status status = Parse(tiny).status();
  EXPECT_EQ(status.code(), code) << words << ": " << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(words));
}

// `where` is a JSON pointer; null erases the key.
void ExpectBadConfig(TitansVariant variant, const char* where,
                     const Json& value, const std::string& words) {
  TinySafetensors tiny = WriteTinySafetensors(TitansOptions(variant));
  Json config = Json::parse(tiny.config_json);
  config[Json::json_pointer(where)] = value;
  tiny.config_json = config.dump();
  ExpectError(tiny, absl::StatusCode::kInvalidArgument, words);
}

TEST(TitansModelTest, EveryVariantIsReadAsItWasWritten) {
  for (const TitansVariant variant : kTitansVariants) {
    const TinyModelOptions options = TitansOptions(variant);
    const auto parts = Parse(WriteTinySafetensors(options));
    ASSERT_TRUE(parts.ok()) << parts.status();
    const Hyperparameters& hyper = parts->hyperparameters;
    EXPECT_EQ(hyper.architecture, Architecture::kTitans);
    ASSERT_TRUE(hyper.titans.has_value());
    EXPECT_EQ(hyper.titans->variant, variant);
    if (hyper.titans->has_attention()) {
      EXPECT_EQ(hyper.titans->window, 32);
      EXPECT_EQ(hyper.titans->num_persistent, 3);
    }
    EXPECT_EQ(parts->tensors.size(),
              RequiredTensors(TinyHyperparameters(options)).size());
    if (!hyper.titans->has_memory()) continue;
    EXPECT_EQ(hyper.titans->conv_kernel, options.titans->conv_kernel);
    EXPECT_EQ(hyper.titans->gate_stretch, 0.125f);
    EXPECT_EQ(hyper.titans->theta_max, 0.5f);
    const MemorySpec& memory = hyper.titans->memory;
    EXPECT_EQ(memory.head_dim, 16);
    EXPECT_EQ(memory.num_layers, 3);
    EXPECT_EQ(memory.hidden_dim, 48);
    EXPECT_EQ(memory.activation, MemoryActivation::kGelu);
    EXPECT_EQ(memory.norm, MemoryNorm::kRms);
    EXPECT_FALSE(memory.residual);
    EXPECT_EQ(memory.rule, MemoryRule::kToken);
    EXPECT_EQ(memory.chunk_len, 32);
    EXPECT_EQ(memory.loss_scale, 0.5f);
    EXPECT_EQ(memory.max_norm, 100.0f);
  }
}

TEST(TitansModelTest, KeysOutsideTheirRangeAreNamed) {
  const struct {
    const char* where;
    Json value;
    const char* words;
  } cases[] = {
      {"/titans", nullptr, "\"titans\" is missing"},
      {"/titans", 3, "\"titans\" is of type number, want an object"},
      {"/titans/variant", nullptr, "\"titans.variant\" is missing"},
      {"/titans/variant", "map", "is \"map\", want one of mac, mag, mal"},
      {"/titans/window", 0, "\"titans.window\" is 0, want 1 to 1048576"},
      {"/titans/window", 1048577, "is 1048577"},
      {"/titans/window", "wide", "want"},
      {"/titans/num_persistent", -1, "is -1, want 0 to 256"},
      {"/titans/num_persistent", 257, "is 257, want 0 to 256"},
      {"/titans/conv_kernel", 0, "is 0, want 1 to 8"},
      {"/titans/conv_kernel", 9, "is 9, want 1 to 8"},
      {"/titans/gate_stretch", -0.1, "gate_stretch\" is -0.1, want from 0"},
      {"/titans/gate_stretch", 0.6, "is 0.6, want from 0 to 0.5"},
      {"/titans/theta_max", 0, "theta_max\" is 0, want above 0"},
      {"/titans/theta_max", 1001, "is 1001, want above 0 to 1000"},
      {"/titans/memory", nullptr, "\"titans.memory\" is missing"},
      {"/titans/memory/num_layers", 0, "is 0, want 1 to 4"},
      {"/titans/memory/num_layers", 5, "is 5, want 1 to 4"},
      {"/titans/memory/num_layers", 1, "hidden_dim\" is 48, want 0 to 0"},
      {"/titans/memory/hidden_dim", 24, "is 24, want a multiple of 16, 16"},
      {"/titans/memory/hidden_dim", 1040, "is 1040"},
      {"/titans/memory/activation", "relu", "is \"relu\", want one of silu"},
      {"/titans/memory/norm", "batch", "is \"batch\", want one of none"},
      {"/titans/memory/residual", nullptr, "residual\" is missing"},
      {"/titans/memory/chunk_len", 0, "is 0, want 1 to 4096"},
      {"/titans/memory/chunk_len", 4097, "is 4097, want 1 to 4096"},
      {"/titans/memory/loss_scale", 0, "is 0, want above 0 to 1000"},
      {"/titans/memory/loss_scale", 1e-60, "is 1e-60, want above 0"},
      {"/titans/memory/max_norm", -1, "is -1, want above 0"},
      {"/titans/memory/max_norm", 1e19, "is 1e+19"},
      {"/head_dim", 24, "head dimension 24 is not a multiple of 16"},
      {"/head_dim", 272, "head_dim is 272"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.where);
    ExpectBadConfig(TitansVariant::kMal, c.where, c.value, c.words);
  }
  ExpectBadConfig(TitansVariant::kMac, "/titans/window", 16,
                  "is 16; in mac it must be memory.chunk_len, 32");
  ExpectBadConfig(TitansVariant::kMac, "/titans/conv_kernel", 2,
                  "is 2, want 1 to 1");
}

TEST(TitansModelTest, SharedKvHeadsAreUnimplemented) {
  TinySafetensors tiny =
      WriteTinySafetensors(TitansOptions(TitansVariant::kMag));
  Json config = Json::parse(tiny.config_json);
  config["num_key_value_heads"] = 2;
  tiny.config_json = config.dump();
  ExpectError(tiny, absl::StatusCode::kUnimplemented, "num_key_value_heads 2");
}

TEST(TitansModelTest, KeysThatAVariantHasNoUseForMayBeAbsent) {
  const auto parses_without = [](TitansVariant variant,
                                 std::vector<const char*> keys) {
    TinySafetensors tiny = WriteTinySafetensors(TitansOptions(variant));
    Json config = Json::parse(tiny.config_json);
    for (const char* key : keys) config["titans"].erase(key);
    tiny.config_json = config.dump();
    return Parse(tiny).status();
  };
  EXPECT_EQ(
      parses_without(TitansVariant::kSwa,
                     {"memory", "theta_max", "gate_stretch", "conv_kernel"}),
      absl::OkStatus());
  EXPECT_EQ(parses_without(TitansVariant::kLmm, {"window", "num_persistent"}),
            absl::OkStatus());
  EXPECT_EQ(parses_without(TitansVariant::kMac, {"conv_kernel"}),
            absl::OkStatus());
}

// Each of a layer's own tensors: absent, of another shape; and one too many.
TEST(TitansModelTest, TensorsAreThoseOfTheVariant) {
  for (const TitansVariant variant : kTitansVariants) {
    const TinyModelOptions options = TitansOptions(variant);
    TinySafetensors tiny = WriteTinySafetensors(options);
    const std::vector<TinyTensor> tensors = MakeTinyHfTensors(options);
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (tensors[i].name.find("layers.1.") == std::string::npos) continue;
      SCOPED_TRACE(tensors[i].name);
      std::vector<TinyTensor> changed = tensors;
      changed.erase(changed.begin() + static_cast<int64_t>(i));
      tiny.model_safetensors = WriteSafetensors(changed);
      ExpectError(tiny, absl::StatusCode::kInvalidArgument, "is missing");
      changed = tensors;
      changed[i].shape.insert(changed[i].shape.begin(), 1);
      tiny.model_safetensors = WriteSafetensors(changed);
      ExpectError(tiny, absl::StatusCode::kInvalidArgument, "has shape [1, ");
    }
  }
  TinyModelOptions swa = TitansOptions(TitansVariant::kSwa);
  TinySafetensors tiny = WriteTinySafetensors(swa);
  std::vector<TinyTensor> more = MakeTinyHfTensors(swa);
  for (const TinyTensor& tensor :
       MakeTinyHfTensors(TitansOptions(TitansVariant::kMag))) {
    if (tensor.name == "model.layers.0.mem_init") more.push_back(tensor);
  }
  tiny.model_safetensors = WriteSafetensors(more);
  ExpectError(tiny, absl::StatusCode::kUnimplemented,
              "tensor \"blk.0.mem_init\"");
}

TEST(TitansModelTest, StateHasItsBytes) {
  TitansHyperparameters titans = *TitansOptions(TitansVariant::kMal).titans;
  // 16 x 48, 48 x 48, 48 x 16 and gamma.
  const int64_t weights = 16 * 48 + 48 * 48 + 48 * 16 + 16;
  EXPECT_EQ(titans.memory.num_weights(), weights);
  const int64_t chunk = 32 * (2 * 16 + 3 + 3 * (16 + 48 + 48) + 16);
  EXPECT_EQ(titans.state_bytes(), 4 * (3 * weights + chunk + 3 * 3 * 16));
  titans.variant = TitansVariant::kMac;
  titans.conv_kernel = 1;
  EXPECT_EQ(titans.state_bytes(), 4 * (3 * weights + chunk + 64 * 2 * 16));
  titans.variant = TitansVariant::kSwa;
  EXPECT_EQ(titans.state_bytes(), 0);
}

}  // namespace
}  // namespace headwise
