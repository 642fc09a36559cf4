// Whether a request can ever run.

#ifndef HEADWISE_SERVER_SCHEDULER_ADMISSION_H_
#define HEADWISE_SERVER_SCHEDULER_ADMISSION_H_

#include <cstdint>

#include "absl/status/status.h"
#include "server/scheduler/engine.h"

namespace headwise {

// Positions that the request needs at its longest; near 2^63 saturated. Counts
// the last token too, although its KV is never written.
int64_t NeededTokens(const EngineRequest& request);

// InvalidArgument for an empty prompt or no tokens to generate; OutOfRange,
// with needed and available bytes and the longest context that fits, for a
// request that exceeds the model's context or the whole of the caches.
absl::Status CheckCanFit(const EngineRequest& request,
                         const EngineOptions& options,
                         int64_t kv_capacity_tokens);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_ADMISSION_H_
