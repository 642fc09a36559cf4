// One write or read over the workers of a memory.

#ifndef HEADWISE_SERVER_NEURAL_MEMORY_MEMORY_CALLS_H_
#define HEADWISE_SERVER_NEURAL_MEMORY_MEMORY_CALLS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/neural_memory/memory_rows.h"
#include "server/neural_memory/memory_types.h"
#include "server/neural_memory/neural_memory.h"

namespace headwise {

// Both block until all workers have answered. Errors are those of
// NeuralMemory::Explain; of several, that of the lowest head.

// The memory's state stays as it is: the caller advances it.
absl::StatusOr<MemoryWriteOutcome> WriteOverWorkers(
    NeuralMemory& memory, const MemoryState& state, int64_t next_version,
    const MemoryTensors& tensors, absl::Duration timeout);

// Of the state that the memory has now. Aborted if it was replaced meanwhile.
absl::StatusOr<MemoryReadAnswer> ReadOverWorkers(
    NeuralMemory& memory, const std::vector<float>& queries,
    int64_t num_queries, absl::Duration timeout);

}  // namespace headwise

#endif  // HEADWISE_SERVER_NEURAL_MEMORY_MEMORY_CALLS_H_
