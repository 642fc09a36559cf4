// A GGUF file's bytes as a model.

#ifndef HEADWISE_MODEL_FILES_GGUF_MODEL_H_
#define HEADWISE_MODEL_FILES_GGUF_MODEL_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/files/model_parts.h"

namespace headwise {

// `bytes` must outlive the result, which views them; they start at an address
// that is a multiple of 8 if tensors are to be read in place. Errors as
// Model::Open's.
absl::StatusOr<ModelParts> ParseGgufModel(absl::Span<const uint8_t> bytes);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_GGUF_MODEL_H_
