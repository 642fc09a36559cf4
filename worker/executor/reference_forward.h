// The forward pass in double, straight from the formulas: what the executor is
// tested against.

#ifndef HEADWISE_WORKER_EXECUTOR_REFERENCE_FORWARD_H_
#define HEADWISE_WORKER_EXECUTOR_REFERENCE_FORWARD_H_

#include <cstdint>
#include <vector>

#include "model/model.h"

namespace headwise {

// Logits of every token, [tokens][vocab_size], with the dequantized weights,
// fp64 activations and a cache that rounds nothing.
std::vector<std::vector<double>> ReferenceForward(
    const Model& model, const std::vector<int32_t>& tokens);

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_REFERENCE_FORWARD_H_
