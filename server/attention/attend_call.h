// One Attend over the workers of a session.

#ifndef HEADWISE_SERVER_ATTENTION_ATTEND_CALL_H_
#define HEADWISE_SERVER_ATTENTION_ATTEND_CALL_H_

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "server/attention/attention_session.h"
#include "server/attention/attention_types.h"
#include "worker/backends/cpu/kernels.h"

namespace headwise {

// Blocks until all workers have answered, batch by batch. An answer is of the
// positions that were stored when it began.
absl::StatusOr<AttendAnswer> AttendOverWorkers(AttentionSession& session,
                                               const AttendQuery& query,
                                               const Caller& caller,
                                               const Kernels& kernels,
                                               const Clock& clock);

}  // namespace headwise

#endif  // HEADWISE_SERVER_ATTENTION_ATTEND_CALL_H_
