// One write or read over the workers of a memory.

#ifndef HEADWISE_SERVER_NEURAL_MEMORY_MEMORY_CALLS_H_
#define HEADWISE_SERVER_NEURAL_MEMORY_MEMORY_CALLS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/leases/gather.h"
#include "server/neural_memory/memory_rows.h"
#include "server/neural_memory/memory_types.h"
#include "server/neural_memory/neural_memory.h"

namespace headwise {

// Errors are those of NeuralMemory::Explain; of several, that of the lowest
// head. The memory's state stays as it is: the caller advances it.

// A write that the workers are at. Not thread-safe.
class WorkersWrite {
 public:
  // `memory` must outlive it.
  WorkersWrite(NeuralMemory& memory, const MemoryState& state,
               int64_t next_version, MemoryTensors tensors,
               absl::Duration timeout);
  WorkersWrite(const WorkersWrite&) = delete;
  WorkersWrite& operator=(const WorkersWrite&) = delete;

  // Blocks until all have answered; must be called, once.
  absl::StatusOr<MemoryWriteOutcome> Wait();

 private:
  NeuralMemory& memory_;
  const int64_t num_rows_;
  const int64_t num_tokens_;  // of the memory, once they are written
  const bool reads_;
  Gather<WriteMemoryResult> answers_;
};

// The rest block until all workers have answered.

// Drops the tokens of the open chunk.
absl::Status DropOpenRowsOverWorkers(NeuralMemory& memory,
                                     const MemoryState& state,
                                     int64_t next_version,
                                     absl::Duration timeout);

// Of the state that the memory has now. Aborted if it was replaced meanwhile.
absl::StatusOr<MemoryReadAnswer> ReadOverWorkers(
    NeuralMemory& memory, const std::vector<float>& queries,
    int64_t num_queries, absl::Duration timeout);

}  // namespace headwise

#endif  // HEADWISE_SERVER_NEURAL_MEMORY_MEMORY_CALLS_H_
