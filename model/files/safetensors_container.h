// The safetensors container: a JSON header that places tensors in one buffer.
// Format: README.md of github.com/huggingface/safetensors.

#ifndef HEADWISE_MODEL_FILES_SAFETENSORS_CONTAINER_H_
#define HEADWISE_MODEL_FILES_SAFETENSORS_CONTAINER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/tensor.h"

namespace headwise {

struct SafetensorsContainer {
  std::vector<TensorView> tensors;              // order of their bytes
  std::map<std::string, std::string> metadata;  // "__metadata__"
};

// `bytes` must outlive the result, which views them. The header's length is
// checked against the file and kMaxSafetensorsHeader before it is used, and its
// JSON is read as events, so memory follows the number of tensors. Tensors must
// fill the buffer: no gap, no overlap, no span that differs from shape x dtype.
// InvalidArgument for damage, Unimplemented for a dtype that we do not read.
absl::StatusOr<SafetensorsContainer> ParseSafetensorsContainer(
    absl::Span<const uint8_t> bytes);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_SAFETENSORS_CONTAINER_H_
