// Attention of query rows over what one worker holds of a session.

#ifndef HEADWISE_WORKER_SESSIONS_ATTEND_ROWS_H_
#define HEADWISE_WORKER_SESSIONS_ATTEND_ROWS_H_

#include "absl/status/statusor.h"
#include "base/thread_team.h"
#include "worker/backends/cpu/kernels.h"
#include "worker/sessions/session_messages.h"
#include "worker/sessions/session_part.h"

namespace headwise {

// The bits depend on neither the team nor the other rows. Of the part nothing
// changes (policy_units.h). Reads each key and
// value once for each group of rows of the request; beside that it needs
// num_rows * (head_dim + 1) floats for each range of a unit, of at most
// kMaxPartialFloats at once or one unit's.
//
// InvalidArgument and FailedPrecondition as PlanRanges, for sizes that do not
// agree, and for rows that need more than kMaxUnitFloats of one unit.
inline constexpr int64_t kMaxPartialFloats = int64_t{1} << 24;
inline constexpr int64_t kMaxUnitFloats = int64_t{1} << 26;
absl::StatusOr<AttendPartResult> AttendRows(SessionPart& part,
                                            const AttendPartRequest& request,
                                            const Kernels& kernels,
                                            ThreadTeam& team);

}  // namespace headwise

#endif  // HEADWISE_WORKER_SESSIONS_ATTEND_ROWS_H_
