// Joins what workers answer. Pure.

#ifndef HEADWISE_SERVER_ATTENTION_PARTIAL_MERGE_H_
#define HEADWISE_SERVER_ATTENTION_PARTIAL_MERGE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "worker/backends/cpu/kernels.h"
#include "worker/sessions/session_messages.h"

namespace headwise {

// Internal unless a worker's partials of one unit are those that its share must
// give for rows that see positions below `visible_end`, with num_rows each: a
// missing range would be a wrong number.
absl::Status CheckParts(const UnitShare& share, int64_t visible_end,
                        int64_t num_rows, int64_t head_dim,
                        const UnitPartials& partials);

// Merges partials of one unit, of all its holders, in order of position, with
// the kernel that workers use: the bits are those of one worker that holds all.
//   out [num_rows][head_dim], lse [num_rows]
void MergeParts(std::vector<const RangePartial*> parts, const Kernels& kernels,
                int64_t head_dim, int64_t num_rows, float* out, float* lse);

// Adds a worker's findings of one unit. Internal if sizes do not agree.
absl::Status AddProbe(const UnitProbe& from, int64_t num_top_keys,
                      UnitProbe& to);

}  // namespace headwise

#endif  // HEADWISE_SERVER_ATTENTION_PARTIAL_MERGE_H_
