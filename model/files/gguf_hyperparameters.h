// GGUF's `<architecture>.*` keys as hyperparameters.

#ifndef HEADWISE_MODEL_FILES_GGUF_HYPERPARAMETERS_H_
#define HEADWISE_MODEL_FILES_GGUF_HYPERPARAMETERS_H_

#include "absl/status/statusor.h"
#include "model/files/gguf_container.h"
#include "model/hyperparameters.h"

namespace headwise {

// `vocab_size` is the tokenizer's. Takes flags such as qkv_bias from the
// tensors that exist. The result has passed ValidateHyperparameters.
absl::StatusOr<Hyperparameters> ReadGgufHyperparameters(
    const GgufContainer& gguf, int64_t vocab_size);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_GGUF_HYPERPARAMETERS_H_
