// Heads of a model's neural memories, as a caller's memory begins with them.
// Pure.

#ifndef HEADWISE_SERVER_NEURAL_MEMORY_MODEL_MEMORY_H_
#define HEADWISE_SERVER_NEURAL_MEMORY_MODEL_MEMORY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/memory_spec.h"
#include "model/model.h"
#include "server/neural_memory/memory_types.h"

namespace headwise {

struct ModelMemory {
  int64_t num_heads = 0;
  MemorySpec spec;
  // [num_heads]: of a token whose normed input is 0 (docs/titans-models.md).
  std::vector<MemoryGates> gates;
  std::string weights;  // fp32 [num_heads][num_weights]
};

// Heads of one layer, all if `heads` is empty, in the order given.
// FailedPrecondition if the model has no memories; InvalidArgument names the
// layer or head that it does not have, or a head that is there twice.
absl::StatusOr<ModelMemory> MemoryOfModel(const Model& model, int64_t layer,
                                          absl::Span<const int64_t> heads);

}  // namespace headwise

#endif  // HEADWISE_SERVER_NEURAL_MEMORY_MODEL_MEMORY_H_
