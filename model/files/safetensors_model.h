// The files of a Hugging Face folder as a model.

#ifndef HEADWISE_MODEL_FILES_SAFETENSORS_MODEL_H_
#define HEADWISE_MODEL_FILES_SAFETENSORS_MODEL_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/files/model_parts.h"

namespace headwise {

struct SafetensorsFiles {
  struct Shard {
    std::string name;  // as in the index
    absl::Span<const uint8_t> bytes;
  };
  std::vector<Shard> shards;
  // Name in the file -> shard, or empty: one shard holds all.
  std::map<std::string, std::string> shard_of_tensor;
  // Contents; empty if there is no such file. The first two are required.
  absl::Span<const uint8_t> config_json;
  absl::Span<const uint8_t> tokenizer_json;
  absl::Span<const uint8_t> tokenizer_config_json;
  absl::Span<const uint8_t> generation_config_json;
  absl::Span<const uint8_t> chat_template_jinja;
};

// "weight_map" of a model.safetensors.index.json. Every shard's name is a plain
// file name (no folder), there are at most kMaxSafetensorsShards.
absl::StatusOr<std::map<std::string, std::string>> ParseSafetensorsIndex(
    absl::Span<const uint8_t> json);

// The bytes must outlive the result, which views them. Errors as Model::Open's.
absl::StatusOr<ModelParts> ParseSafetensorsModel(const SafetensorsFiles& files);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_SAFETENSORS_MODEL_H_
