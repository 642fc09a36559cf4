#include "model/files/safetensors_model.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/files/bounded_json.h"
#include "model/files/hf_config.h"
#include "model/files/hf_tensor_names.h"
#include "model/files/hf_tokenizer.h"
#include "model/files/model_limits.h"
#include "model/files/quoted.h"
#include "model/files/required_tensors.h"
#include "model/files/safetensors_container.h"

namespace headwise {

namespace {

using Json = nlohmann::json;

// Sizes of published files: config.json 1 kB, tokenizer.json up to 20 MB and
// 600,000 values, index.json 1 MB.
constexpr JsonLimits kConfigLimits = {
    .max_bytes = 1 << 20, .max_values = 1 << 16, .max_depth = 16};
constexpr JsonLimits kTokenizerLimits = {
    .max_bytes = 1 << 26, .max_values = 1 << 23, .max_depth = 32};
constexpr JsonLimits kIndexLimits = {
    .max_bytes = 1 << 24, .max_values = 1 << 17, .max_depth = 4};

absl::StatusOr<Json> ParseObject(absl::string_view what,
                                 absl::Span<const uint8_t> text,
                                 const JsonLimits& limits) {
  HEADWISE_ASSIGN_OR_RETURN(Json json, ParseBoundedJson(what, text, limits));
  if (json.is_object()) return json;
  return absl::InvalidArgumentError(absl::StrCat(
      what, " holds a value of type ", json.type_name(), ", want an object"));
}

// As ParseObject; an empty object if there is no such file.
absl::StatusOr<Json> ParseOptional(absl::string_view what,
                                   absl::Span<const uint8_t> text,
                                   const JsonLimits& limits) {
  if (text.empty()) return Json(Json::object());
  return ParseObject(what, text, limits);
}

// Adds a shard's tensors under GGUF's names.
absl::Status AppendShard(const SafetensorsFiles& files,
                         const SafetensorsFiles::Shard& shard,
                         absl::flat_hash_set<std::string>& names,
                         ModelParts& parts) {
  absl::StatusOr<SafetensorsContainer> container =
      ParseSafetensorsContainer(shard.bytes);
  if (!container.ok()) {
    return absl::Status(
        container.status().code(),
        absl::StrCat(Quoted(shard.name), ": ", container.status().message()));
  }
  for (TensorView& tensor : container->tensors) {
    if (!names.insert(tensor.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", Quoted(tensor.name), " is in two shards"));
    }
    const auto indexed = files.shard_of_tensor.find(tensor.name);
    if (!files.shard_of_tensor.empty() &&
        (indexed == files.shard_of_tensor.end() ||
         indexed->second != shard.name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", Quoted(tensor.name), " is in shard ",
                       Quoted(shard.name), ", the index says otherwise"));
    }
    HEADWISE_ASSIGN_OR_RETURN(std::string name, GgufNameOf(tensor.name));
    if (name.empty()) continue;
    tensor.name = std::move(name);
    parts.tensors.push_back(std::move(tensor));
  }
  for (const auto& [key, value] : container->metadata) {
    parts.metadata.emplace_back(absl::Utf8SafeCEscape(key),
                                absl::Utf8SafeCEscape(value));
  }
  return absl::OkStatus();
}

absl::Status ReadTensors(const SafetensorsFiles& files, ModelParts& parts) {
  absl::flat_hash_set<std::string> names;
  for (const SafetensorsFiles::Shard& shard : files.shards) {
    HEADWISE_RETURN_IF_ERROR(AppendShard(files, shard, names, parts));
  }
  for (const auto& [name, shard] : files.shard_of_tensor) {
    if (!names.contains(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", Quoted(name), " is not in shard ",
                       Quoted(shard), ", where the index has it"));
    }
  }
  Hyperparameters& hyper = parts.hyperparameters;
  if (hyper.tied_embeddings) {
    // A copy that the training framework wrote all the same; it is not used.
    parts.tensors.erase(
        std::remove_if(parts.tensors.begin(), parts.tensors.end(),
                       [](const TensorView& tensor) {
                         return tensor.name == "output.weight";
                       }),
        parts.tensors.end());
  }
  for (const TensorView& tensor : parts.tensors) {
    if (tensor.name == "blk.0.attn_q.bias") hyper.qkv_bias = true;
  }
  return CheckTensors(hyper, parts.tensors);
}

// "chat_template": text, or a list of {name, template} with one "default".
absl::StatusOr<std::string> ReadChatTemplate(const SafetensorsFiles& files,
                                             const Json& tokenizer_config) {
  if (!files.chat_template_jinja.empty()) {
    return std::string(files.chat_template_jinja.begin(),
                       files.chat_template_jinja.end());
  }
  const Json* member = JsonMember(tokenizer_config, "chat_template");
  if (member == nullptr) return std::string();
  if (member->is_string()) return member->get<std::string>();
  if (member->is_array()) {
    for (const Json& named : *member) {
      if (!named.is_object()) continue;
      HEADWISE_ASSIGN_OR_RETURN(const auto name, JsonText(named, "name"));
      if (name != "default") continue;
      HEADWISE_ASSIGN_OR_RETURN(const auto text, JsonText(named, "template"));
      return text.value_or("");
    }
  }
  return absl::InvalidArgumentError(
      "tokenizer_config.json: chat_template is neither text nor a list with a "
      "template named \"default\"");
}

absl::Status ReadTokenizer(const SafetensorsFiles& files, const Json& config,
                           ModelParts& parts) {
  HEADWISE_ASSIGN_OR_RETURN(
      const Json tokenizer,
      ParseObject("tokenizer.json", files.tokenizer_json, kTokenizerLimits));
  HEADWISE_ASSIGN_OR_RETURN(
      const Json tokenizer_config,
      ParseOptional("tokenizer_config.json", files.tokenizer_config_json,
                    kTokenizerLimits));
  HEADWISE_ASSIGN_OR_RETURN(
      const Json generation_config,
      ParseOptional("generation_config.json", files.generation_config_json,
                    kConfigLimits));
  HfTokenizerInput input;
  input.tokenizer = &tokenizer;
  input.config = &tokenizer_config;
  input.vocab_size = parts.hyperparameters.vocab_size;
  HEADWISE_ASSIGN_OR_RETURN(input.eos_ids, ReadEosIds(config));
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<int64_t> more_ids,
                            ReadEosIds(generation_config));
  input.eos_ids.insert(input.eos_ids.end(), more_ids.begin(), more_ids.end());
  HEADWISE_ASSIGN_OR_RETURN(parts.tokenizer, ReadHfTokenizer(input));
  HEADWISE_ASSIGN_OR_RETURN(parts.chat_template,
                            ReadChatTemplate(files, tokenizer_config));
  return absl::OkStatus();
}

absl::Status CheckShardName(const std::string& name) {
  const bool is_plain = !name.empty() && name != "." && name != ".." &&
                        name.find('/') == std::string::npos &&
                        name.find('\0') == std::string::npos;
  if (is_plain) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "index.json: shard ", Quoted(name), " is not a plain file name"));
}

}  // namespace

absl::StatusOr<std::map<std::string, std::string>> ParseSafetensorsIndex(
    absl::Span<const uint8_t> json) {
  HEADWISE_ASSIGN_OR_RETURN(const Json index,
                            ParseObject("index.json", json, kIndexLimits));
  const Json* weight_map = JsonMember(index, "weight_map");
  if (weight_map == nullptr || !weight_map->is_object() ||
      weight_map->empty()) {
    return absl::InvalidArgumentError(
        "index.json: weight_map is missing, empty or no object");
  }
  std::map<std::string, std::string> shard_of_tensor;
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : weight_map->items()) {
    if (!shard.is_string()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "index.json: the shard of ", Quoted(tensor), " is no text"));
    }
    const auto& name = shard.get_ref<const std::string&>();
    HEADWISE_RETURN_IF_ERROR(CheckShardName(name));
    shards.insert(name);
    shard_of_tensor.emplace(tensor, name);
  }
  if (shards.size() > static_cast<size_t>(kMaxSafetensorsShards)) {
    return absl::InvalidArgumentError(
        absl::StrCat("index.json: ", shards.size(), " shards; the limit is ",
                     kMaxSafetensorsShards));
  }
  return shard_of_tensor;
}

absl::StatusOr<ModelParts> ParseSafetensorsModel(
    const SafetensorsFiles& files) {
  ModelParts parts;
  HEADWISE_ASSIGN_OR_RETURN(
      const Json config,
      ParseObject("config.json", files.config_json, kConfigLimits));
  HEADWISE_ASSIGN_OR_RETURN(parts.hyperparameters, ReadHfConfig(config));
  for (const auto& [key, value] : config.items()) {
    parts.metadata.emplace_back(absl::Utf8SafeCEscape(key), value.dump());
  }
  HEADWISE_RETURN_IF_ERROR(ReadTensors(files, parts));
  HEADWISE_RETURN_IF_ERROR(ReadTokenizer(files, config, parts));
  return parts;
}

}  // namespace headwise
