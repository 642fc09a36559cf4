// Which tensors an architecture has, and their shapes.

#ifndef HEADWISE_MODEL_FILES_REQUIRED_TENSORS_H_
#define HEADWISE_MODEL_FILES_REQUIRED_TENSORS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/hyperparameters.h"
#include "model/tensor.h"

namespace headwise {

struct RequiredTensor {
  std::string name;            // GGUF's
  std::vector<int64_t> shape;  // outermost first
};

// In the order of model.h. Requires hyperparameters that are valid.
std::vector<RequiredTensor> RequiredTensors(const Hyperparameters& hyper);

// OK if `tensors` are exactly those. InvalidArgument for one that is missing or
// has another shape; Unimplemented for one that the architecture has no use for
// (ignoring it would give wrong numbers), or for a quantized vector.
absl::Status CheckTensors(const Hyperparameters& hyper,
                          const std::vector<TensorView>& tensors);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_REQUIRED_TENSORS_H_
