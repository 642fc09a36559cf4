// Hugging Face's config.json as hyperparameters.

#ifndef HEADWISE_MODEL_FILES_HF_CONFIG_H_
#define HEADWISE_MODEL_FILES_HF_CONFIG_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "model/hyperparameters.h"
#include "nlohmann/json.hpp"

namespace headwise {

// The result has passed ValidateHyperparameters. qkv_bias is that of the
// architecture; a llama file's tensors may say more. `config` must be an
// object.
absl::StatusOr<Hyperparameters> ReadHfConfig(const nlohmann::json& config);

// "eos_token_id" of a config.json or generation_config.json: one id or a list.
absl::StatusOr<std::vector<int64_t>> ReadEosIds(const nlohmann::json& config);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_HF_CONFIG_H_
