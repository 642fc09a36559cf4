// A titans model in double, token by token, straight from
// docs/titans-models.md: what the executor is tested against.

#ifndef HEADWISE_WORKER_EXECUTOR_TITANS_REFERENCE_H_
#define HEADWISE_WORKER_EXECUTOR_TITANS_REFERENCE_H_

#include <cstdint>
#include <vector>

#include "model/model.h"

namespace headwise {

// Logits of every token, [tokens][vocab_size], with a cache and memories that
// round nothing.
std::vector<std::vector<double>> TitansReferenceForward(
    const Model& model, const std::vector<int32_t>& tokens);

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_TITANS_REFERENCE_H_
