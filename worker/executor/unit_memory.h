// The neural memory of one unit of one sequence: all that the sequence's later
// tokens depend on there, beside its KV.

#ifndef HEADWISE_WORKER_EXECUTOR_UNIT_MEMORY_H_
#define HEADWISE_WORKER_EXECUTOR_UNIT_MEMORY_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/hyperparameters.h"
#include "worker/executor/float_blocks.h"
#include "worker/neural_memory/memory_head.h"

namespace headwise {

// A value: a copy goes on as its origin does.
struct UnitMemory {
  // As before the first token.
  UnitMemory(const TitansHyperparameters& titans,
             absl::Span<const float> initial)
      : head(titans.memory, initial),
        conv_tails(static_cast<size_t>(3 * (titans.conv_kernel - 1) *
                                       titans.memory.head_dim)),
        context(titans.variant == TitansVariant::kMac ? titans.window : 0,
                titans.memory.head_dim) {}

  MemoryHead head;
  // What the convolutions of q, k and v took last, [3][conv_kernel -
  // 1][head_dim], the oldest first; zeros before the first token.
  std::vector<float> conv_tails;
  // kMac: keys and values that the memory added to the open segment.
  FloatBlocks context;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_UNIT_MEMORY_H_
