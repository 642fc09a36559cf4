// Units that attend by their policy: razor, quest, blocks by log-sum-exp. They
// run by the executor's own code, so that a session's queries see what a
// request's see under a head plan.

#ifndef HEADWISE_WORKER_SESSIONS_POLICY_UNITS_H_
#define HEADWISE_WORKER_SESSIONS_POLICY_UNITS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/thread_team.h"
#include "worker/backends/cpu/kernels.h"
#include "worker/sessions/session_messages.h"
#include "worker/sessions/session_part.h"

namespace headwise {

// Lets every unit remember what it must of positions below `length`, before
// what it drops at that length goes. No effect for a length before the last.
// FailedPrecondition if a position that it needs is not held.
absl::Status Remember(SessionPart& part, int64_t length, const Kernels& kernels,
                      ThreadTeam& team);

// Fills in the partials of units that attend by their policy; `result` has one
// entry for each unit of the request, whose sizes have been checked. Remember
// was called with the request's length or a later one. The bits depend on
// neither the team nor the other rows. The part is as before in the end.
// FailedPrecondition as PlanRanges; InvalidArgument if such units don't ascend.
absl::Status AttendPolicyUnits(SessionPart& part,
                               const AttendPartRequest& request,
                               const Kernels& kernels, ThreadTeam& team,
                               AttendPartResult* result);

// What a kRazor unit remembers at `length`, as BlockRun has it. InvalidArgument
// if HasSums says that there is nothing; Remember was called with `length`.
absl::StatusOr<std::string> ExportSums(const SessionPart& part, int64_t kv_head,
                                       int64_t length);
// InvalidArgument if the unit is not such a one, for another size, for an end
// that is none, or for a sum that is not finite.
absl::Status ImportSums(SessionPart& part, int64_t kv_head,
                        const std::string& bytes);

}  // namespace headwise

#endif  // HEADWISE_WORKER_SESSIONS_POLICY_UNITS_H_
