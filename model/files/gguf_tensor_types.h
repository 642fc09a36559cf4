// GGML's numbers for element formats.

#ifndef HEADWISE_MODEL_FILES_GGUF_TENSOR_TYPES_H_
#define HEADWISE_MODEL_FILES_GGUF_TENSOR_TYPES_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "model/tensor.h"

namespace headwise {

// Unimplemented, with the format's name where GGML has one, for those that we
// do not read.
absl::StatusOr<DType> DTypeOfGgmlType(uint32_t type);
uint32_t GgmlTypeOf(DType dtype);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_GGUF_TENSOR_TYPES_H_
