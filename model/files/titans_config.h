// The "titans" object of a config.json (docs/titans-models.md).

#ifndef HEADWISE_MODEL_FILES_TITANS_CONFIG_H_
#define HEADWISE_MODEL_FILES_TITANS_CONFIG_H_

#include "absl/status/statusor.h"
#include "model/hyperparameters.h"
#include "nlohmann/json.hpp"

namespace headwise {

// `hyper` has the shape that the rest of the config gave. InvalidArgument names
// the key, its value and the limit; Unimplemented: KV heads that several query
// heads share. Keys that a variant has no use for are not looked at.
absl::StatusOr<TitansHyperparameters> ReadTitansConfig(
    const nlohmann::json& config, const Hyperparameters& hyper);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_TITANS_CONFIG_H_
