// Over what the workers of a group add up.

#ifndef HEADWISE_SERVER_DISPATCH_GROUP_CHOICE_H_
#define HEADWISE_SERVER_DISPATCH_GROUP_CHOICE_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/membership/membership.h"
#include "worker/step/worker_config.h"

namespace headwise {

// FailedPrecondition, naming the workers, unless each runs on a GPU that no
// other one runs on, and all have the same version of NCCL.
absl::Status CheckNccl(const std::vector<Member>& members);

// Through the memory of hosts, whatever runs the layers: kSharedMemory if all
// members, of whom there is one at least, are on one host, else kGloo.
GroupChoice HostGroup(const std::vector<Member>& members);

// `choice`, or what kAuto means for these members: kNccl for several that pass
// CheckNccl, else HostGroup. CheckNccl's error if kNccl was asked for.
absl::StatusOr<GroupChoice> ResolveGroup(GroupChoice choice,
                                         const std::vector<Member>& members);

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_GROUP_CHOICE_H_
