// What an executor works out from its shard and options before it begins.

#ifndef HEADWISE_WORKER_EXECUTOR_EXECUTOR_SETUP_H_
#define HEADWISE_WORKER_EXECUTOR_EXECUTOR_SETUP_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "worker/executor/executor.h"
#include "worker/executor/sequences.h"

namespace headwise {

// InvalidArgument or Unimplemented for options and shapes that no executor
// runs, by the numbers alone.
absl::Status CheckShape(const Model& model, const Shard& shard,
                        const ExecutorOptions& options);

// The KV that fits beside the packed weights, at most what was ordered.
// ResourceExhausted if memory_bytes has no room for a KV block of every unit.
absl::StatusOr<int64_t> KvBytesBeside(const Model& model, const Shard& shard,
                                      const ExecutorOptions& options);

// Whether the context of a unit of any rank is cut.
bool HasCuts(const Shard& shard);

SequencesOptions SequencesOf(const Model& model, const Shard& shard,
                             const ExecutorOptions& options);

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_EXECUTOR_SETUP_H_
