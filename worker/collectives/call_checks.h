// What every kind of group asks of a call's arguments. Errors are
// InvalidArgument, and name what was given.

#ifndef HEADWISE_WORKER_COLLECTIVES_CALL_CHECKS_H_
#define HEADWISE_WORKER_COLLECTIVES_CALL_CHECKS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "worker/collectives/group.h"

namespace headwise {

absl::Status CheckGather(const Group& group, int64_t num_mine, int64_t num_all);
absl::Status CheckRoot(const Group& group, int root);
// `what` is "send to" or "receive from".
absl::Status CheckPeer(const Group& group, absl::string_view what, int peer);

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_CALL_CHECKS_H_
