// Whether what a worker is told to be and to do is possible.

#ifndef HEADWISE_WORKER_SERVICE_INPUT_CHECKS_H_
#define HEADWISE_WORKER_SERVICE_INPUT_CHECKS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "model/hyperparameters.h"
#include "worker/step/step.h"
#include "worker/step/worker_config.h"

namespace headwise {

// Bounds that need no model. InvalidArgument names field, value and limit;
// FailedPrecondition: a group of other numerics, or whose protocol this build
// does not speak, with both.
absl::Status CheckConfig(const WorkerConfig& config);

// Every unit, tile and rank of `config` exists in the model's work grid, lists
// ascend without repeats, and vocab_tiles agree with vocab_tile_rank.
absl::Status CheckShard(const WorkerConfig& config,
                        const Hyperparameters& hyper);

// Everything of a step that can be checked without the cache's books: counts,
// tokens of the vocabulary, sampling options in range, plans that fit the
// model's shape (that they are for this very model is the coordinator's
// business, which knows its hash).
absl::Status CheckStep(const Step& step, const Hyperparameters& hyper,
                       int64_t max_step_tokens);

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_INPUT_CHECKS_H_
