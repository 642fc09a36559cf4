// What query rows look at: most probable keys, mass of segments, entropy.

#ifndef HEADWISE_WORKER_SESSIONS_PROBE_ROWS_H_
#define HEADWISE_WORKER_SESSIONS_PROBE_ROWS_H_

#include "absl/status/statusor.h"
#include "base/thread_team.h"
#include "worker/backends/cpu/kernels.h"
#include "worker/sessions/session_messages.h"
#include "worker/sessions/session_part.h"

namespace headwise {

// A position's probability is exp(score - lse) with the score that attention
// uses. Equal ones go by position. A row whose lse is -inf sees nothing.
//
// Every member of the team has sums and keys of its own for all rows, so memory
// is team.num_threads() times the result's. Errors as AttendRows; Unimplemented
// for units that attend by their policy, whose choice nobody tells.
absl::StatusOr<ProbePartResult> ProbeRows(const SessionPart& part,
                                          const ProbePartRequest& request,
                                          const Kernels& kernels,
                                          ThreadTeam& team);

// Is `a` before `b` among top keys?
constexpr bool IsAbove(const TopKey& a, const TopKey& b) {
  return a.prob != b.prob ? a.prob > b.prob : a.position < b.position;
}

// Puts `key` into the `num_top_keys` best so far, best first; unused ones at
// the end have position -1.
void AddTopKey(const TopKey& key, int64_t num_top_keys, TopKey* top);

}  // namespace headwise

#endif  // HEADWISE_WORKER_SESSIONS_PROBE_ROWS_H_
