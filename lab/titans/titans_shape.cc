#include "lab/titans/titans_shape.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "lab/titans/titans_task.h"
#include "model/files/hf_config.h"

namespace headwise {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::pair<TitansVariant, const char*>, 5> kVariants = {
    {{TitansVariant::kMac, "mac"},
     {TitansVariant::kMag, "mag"},
     {TitansVariant::kMal, "mal"},
     {TitansVariant::kLmm, "lmm"},
     {TitansVariant::kSwa, "swa"}}};

Json MemoryJson(const MemorySpec& memory) {
  const char* norm = memory.norm == MemoryNorm::kNone    ? "none"
                     : memory.norm == MemoryNorm::kLayer ? "layer"
                                                         : "rms";
  return {{"num_layers", memory.num_layers},
          {"hidden_dim", memory.num_layers == 1 ? 0 : memory.hidden_dim},
          {"activation",
           memory.activation == MemoryActivation::kSilu ? "silu" : "gelu"},
          {"norm", norm},
          {"residual", memory.residual},
          {"chunk_len", memory.chunk_len},
          {"loss_scale", memory.loss_scale},
          {"max_norm", memory.max_norm}};
}

}  // namespace

Hyperparameters SmallestTitans() {
  Hyperparameters hyper;
  hyper.architecture = Architecture::kTitans;
  hyper.num_layers = 1;
  hyper.num_heads = 2;
  hyper.num_kv_heads = 2;
  hyper.head_dim = 32;
  hyper.model_dim = 64;
  hyper.ffn_dim = 128;
  hyper.vocab_size = kTitansVocab;
  hyper.max_context_len = int64_t{1} << 24;
  hyper.rope = {.layout = RopeLayout::kHalfSplit, .rotary_dim = 32};
  TitansHyperparameters titans = {.variant = TitansVariant::kLmm,
                                  .window = 64,
                                  .num_persistent = 4,
                                  .conv_kernel = 4,
                                  .gate_stretch = 0.1f,
                                  .theta_max = 1.0f};
  titans.memory = {.head_dim = 32,
                   .num_layers = 2,
                   .hidden_dim = 64,
                   .residual = false,
                   .chunk_len = 16};
  hyper.titans = titans;
  return hyper;
}

const char* TitansVariantName(TitansVariant variant) {
  for (const auto& [value, name] : kVariants) {
    if (value == variant) return name;
  }
  return "?";
}

absl::StatusOr<TitansVariant> ParseTitansVariant(absl::string_view name) {
  for (const auto& [value, text] : kVariants) {
    if (name == text) return value;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("variant: \"", name, "\"; we have mac, mag, mal, lmm, swa"));
}

Json TitansConfigJson(const Hyperparameters& hyper) {
  const TitansHyperparameters& titans = *hyper.titans;
  Json json = {{"model_type", "titans"},
               {"_name_or_path",
                absl::StrCat("titans-", TitansVariantName(titans.variant))},
               {"hidden_act", "silu"},
               {"vocab_size", hyper.vocab_size},
               {"hidden_size", hyper.model_dim},
               {"num_hidden_layers", hyper.num_layers},
               {"intermediate_size", hyper.ffn_dim},
               {"num_attention_heads", hyper.num_heads},
               {"num_key_value_heads", hyper.num_kv_heads},
               {"head_dim", hyper.head_dim},
               {"max_position_embeddings", hyper.max_context_len},
               {"rms_norm_eps", hyper.norm_epsilon},
               {"rope_theta", hyper.rope.base},
               {"tie_word_embeddings", false},
               {"eos_token_id", kTitansEnd}};
  Json of_titans = {{"variant", TitansVariantName(titans.variant)}};
  if (titans.has_attention()) {
    of_titans["window"] = titans.window;
    of_titans["num_persistent"] = titans.num_persistent;
  }
  if (titans.has_memory()) {
    of_titans["conv_kernel"] = titans.conv_kernel;
    of_titans["gate_stretch"] = titans.gate_stretch;
    of_titans["theta_max"] = titans.theta_max;
    of_titans["memory"] = MemoryJson(titans.memory);
  }
  json["titans"] = of_titans;
  return json;
}

absl::Status CheckTitansShape(const Hyperparameters& hyper) {
  const auto json = nlohmann::json::parse(TitansConfigJson(hyper).dump());
  return ReadHfConfig(json).status();
}

}  // namespace headwise
