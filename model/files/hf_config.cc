#include "model/files/hf_config.h"

#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/files/bounded_json.h"
#include "model/files/model_limits.h"
#include "model/files/quoted.h"
#include "model/files/titans_config.h"

namespace headwise {

namespace {

using Json = nlohmann::json;

absl::StatusOr<int64_t> RequireJsonInt(const Json& object, const char* key) {
  HEADWISE_ASSIGN_OR_RETURN(const auto value, JsonInt(object, key));
  if (value) return *value;
  return absl::InvalidArgumentError(
      absl::StrCat("config.json: key ", Quoted(key), " is missing"));
}

absl::StatusOr<double> RequireJsonReal(const Json& object, const char* key) {
  HEADWISE_ASSIGN_OR_RETURN(const auto value, JsonReal(object, key));
  if (value) return *value;
  return absl::InvalidArgumentError(
      absl::StrCat("config.json: key ", Quoted(key), " is missing"));
}

absl::StatusOr<Architecture> ReadArchitecture(const Json& config) {
  HEADWISE_ASSIGN_OR_RETURN(const auto type, JsonText(config, "model_type"));
  // Mistral is llama with, in its first version, a sliding window.
  if (type == "llama" || type == "mistral") return Architecture::kLlama;
  if (type == "qwen2") return Architecture::kQwen2;
  if (type == "qwen3") return Architecture::kQwen3;
  if (type == "titans") return Architecture::kTitans;
  return absl::UnimplementedError(absl::StrCat(
      "config.json: model_type ", type ? Quoted(*type) : "(absent)",
      "; we have llama, mistral, qwen2, qwen3, titans"));
}

absl::Status RefuseMember(const Json& object, const char* key) {
  if (JsonMember(object, key) == nullptr) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat("config.json: key ", Quoted(key), " is set"));
}

absl::Status RefuseVariants(const Json& config) {
  HEADWISE_RETURN_IF_ERROR(RefuseMember(config, "quantization_config"));
  HEADWISE_ASSIGN_OR_RETURN(const auto activation,
                            JsonText(config, "hidden_act"));
  const std::string activation_name = activation.value_or("silu");
  if (activation_name != "silu") {
    return absl::UnimplementedError(absl::StrCat(
        "config.json: hidden_act ", Quoted(activation_name), "; we have silu"));
  }
  HEADWISE_ASSIGN_OR_RETURN(const auto rotated,
                            JsonReal(config, "partial_rotary_factor"));
  if (rotated && *rotated != 1) {
    return absl::UnimplementedError(absl::StrCat(
        "config.json: partial_rotary_factor ", *rotated, "; we have 1"));
  }
  return absl::OkStatus();
}

absl::Status ReadYarn(const Json& json, RopeScaling& scaling) {
  HEADWISE_RETURN_IF_ERROR(RefuseMember(json, "mscale"));
  HEADWISE_RETURN_IF_ERROR(RefuseMember(json, "mscale_all_dim"));
  HEADWISE_ASSIGN_OR_RETURN(const auto truncate, JsonBool(json, "truncate"));
  if (truncate && !*truncate) {
    return absl::UnimplementedError("config.json: YaRN with truncate false");
  }
  HEADWISE_ASSIGN_OR_RETURN(const auto attention,
                            JsonReal(json, "attention_factor"));
  HEADWISE_ASSIGN_OR_RETURN(const auto fast, JsonReal(json, "beta_fast"));
  HEADWISE_ASSIGN_OR_RETURN(const auto slow, JsonReal(json, "beta_slow"));
  scaling.attention_factor = attention.value_or(0);
  scaling.beta_fast = fast.value_or(scaling.beta_fast);
  scaling.beta_slow = slow.value_or(scaling.beta_slow);
  return absl::OkStatus();
}

absl::Status ReadLlama3(const Json& json, RopeScaling& scaling) {
  HEADWISE_ASSIGN_OR_RETURN(scaling.low_freq_factor,
                            RequireJsonReal(json, "low_freq_factor"));
  HEADWISE_ASSIGN_OR_RETURN(scaling.high_freq_factor,
                            RequireJsonReal(json, "high_freq_factor"));
  return absl::OkStatus();
}

absl::Status ReadScaling(const Json& json, int64_t max_context_len,
                         RopeScaling& scaling) {
  HEADWISE_ASSIGN_OR_RETURN(auto type, JsonText(json, "rope_type"));
  if (!type) {
    HEADWISE_ASSIGN_OR_RETURN(type, JsonText(json, "type"));
  }
  if (!type || *type == "default") return absl::OkStatus();
  if (*type == "linear") {
    scaling.kind = RopeScalingKind::kLinear;
  } else if (*type == "yarn") {
    scaling.kind = RopeScalingKind::kYarn;
  } else if (*type == "llama3") {
    scaling.kind = RopeScalingKind::kLlama3;
  } else {
    return absl::UnimplementedError(
        absl::StrCat("config.json: RoPE scaling ", Quoted(*type),
                     "; we have default, linear, yarn, llama3"));
  }
  HEADWISE_ASSIGN_OR_RETURN(scaling.factor, RequireJsonReal(json, "factor"));
  HEADWISE_ASSIGN_OR_RETURN(const auto original,
                            JsonInt(json, "original_max_position_embeddings"));
  scaling.original_context_len = original.value_or(max_context_len);
  if (scaling.kind == RopeScalingKind::kYarn) return ReadYarn(json, scaling);
  if (scaling.kind == RopeScalingKind::kLlama3) {
    return ReadLlama3(json, scaling);
  }
  return absl::OkStatus();
}

absl::Status ReadRope(const Json& config, Hyperparameters& hyper) {
  Rope& rope = hyper.rope;
  rope.layout = RopeLayout::kHalfSplit;
  rope.rotary_dim = hyper.head_dim;
  HEADWISE_ASSIGN_OR_RETURN(const auto base, JsonReal(config, "rope_theta"));
  rope.base = base.value_or(rope.base);
  // "rope_parameters" is transformers 5's name; it holds rope_theta as well.
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const Json* json = JsonMember(config, key);
    if (json == nullptr) continue;
    if (!json->is_object()) {
      return absl::InvalidArgumentError(
          absl::StrCat("config.json: key ", Quoted(key), " is of type ",
                       json->type_name(), ", want an object"));
    }
    HEADWISE_ASSIGN_OR_RETURN(const auto inner, JsonReal(*json, "rope_theta"));
    rope.base = inner.value_or(rope.base);
    HEADWISE_RETURN_IF_ERROR(
        ReadScaling(*json, hyper.max_context_len, rope.scaling));
  }
  return absl::OkStatus();
}

absl::Status ReadHeads(const Json& config, Hyperparameters& hyper) {
  HEADWISE_ASSIGN_OR_RETURN(hyper.num_heads,
                            RequireJsonInt(config, "num_attention_heads"));
  HEADWISE_ASSIGN_OR_RETURN(const auto num_kv_heads,
                            JsonInt(config, "num_key_value_heads"));
  hyper.num_kv_heads = num_kv_heads.value_or(hyper.num_heads);
  HEADWISE_ASSIGN_OR_RETURN(const auto head_dim, JsonInt(config, "head_dim"));
  if (head_dim) {
    hyper.head_dim = *head_dim;
    return absl::OkStatus();
  }
  if (hyper.num_heads < 1 || hyper.model_dim % hyper.num_heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("config.json: num_attention_heads ", hyper.num_heads,
                     " does not divide hidden_size ", hyper.model_dim,
                     " and there is no head_dim"));
  }
  hyper.head_dim = hyper.model_dim / hyper.num_heads;
  return absl::OkStatus();
}

// Within the window sliding attention is full attention, which we have.
absl::Status LimitToWindow(const Json& config, Hyperparameters& hyper) {
  HEADWISE_ASSIGN_OR_RETURN(const auto uses,
                            JsonBool(config, "use_sliding_window"));
  HEADWISE_ASSIGN_OR_RETURN(const auto window,
                            JsonInt(config, "sliding_window"));
  if (!window || !uses.value_or(hyper.architecture == Architecture::kLlama)) {
    return absl::OkStatus();
  }
  hyper.max_context_len = std::min(hyper.max_context_len, *window);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Hyperparameters> ReadHfConfig(const Json& config) {
  Hyperparameters hyper;
  HEADWISE_ASSIGN_OR_RETURN(hyper.architecture, ReadArchitecture(config));
  HEADWISE_RETURN_IF_ERROR(RefuseVariants(config));
  HEADWISE_ASSIGN_OR_RETURN(const auto name, JsonText(config, "_name_or_path"));
  hyper.name = name.value_or("");
  HEADWISE_ASSIGN_OR_RETURN(hyper.num_layers,
                            RequireJsonInt(config, "num_hidden_layers"));
  HEADWISE_ASSIGN_OR_RETURN(hyper.model_dim,
                            RequireJsonInt(config, "hidden_size"));
  HEADWISE_ASSIGN_OR_RETURN(hyper.ffn_dim,
                            RequireJsonInt(config, "intermediate_size"));
  HEADWISE_ASSIGN_OR_RETURN(hyper.vocab_size,
                            RequireJsonInt(config, "vocab_size"));
  HEADWISE_ASSIGN_OR_RETURN(hyper.max_context_len,
                            RequireJsonInt(config, "max_position_embeddings"));
  HEADWISE_ASSIGN_OR_RETURN(const double epsilon,
                            RequireJsonReal(config, "rms_norm_eps"));
  HEADWISE_ASSIGN_OR_RETURN(hyper.norm_epsilon, CheckedNormEpsilon(epsilon));
  HEADWISE_ASSIGN_OR_RETURN(const auto is_tied,
                            JsonBool(config, "tie_word_embeddings"));
  hyper.tied_embeddings = is_tied.value_or(false);
  HEADWISE_RETURN_IF_ERROR(ReadHeads(config, hyper));
  HEADWISE_RETURN_IF_ERROR(ReadRope(config, hyper));
  HEADWISE_RETURN_IF_ERROR(LimitToWindow(config, hyper));
  hyper.qkv_bias = hyper.architecture == Architecture::kQwen2;
  hyper.qk_norm = hyper.architecture == Architecture::kQwen3;
  HEADWISE_RETURN_IF_ERROR(ValidateHyperparameters(hyper));
  if (hyper.architecture == Architecture::kTitans) {
    HEADWISE_ASSIGN_OR_RETURN(hyper.titans, ReadTitansConfig(config, hyper));
  }
  return hyper;
}

absl::StatusOr<std::vector<int64_t>> ReadEosIds(const Json& config) {
  std::vector<int64_t> ids;
  const Json* member = JsonMember(config, "eos_token_id");
  if (member == nullptr) return ids;
  const Json list = member->is_array() ? *member : Json::array({*member});
  for (const Json& id : list) {
    if (!id.is_number_integer()) {
      return absl::InvalidArgumentError(
          absl::StrCat("eos_token_id is of type ", id.type_name(),
                       ", want an integer or a list of them"));
    }
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

}  // namespace headwise
