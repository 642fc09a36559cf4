// Groups whose ranks are processes of one host.

#ifndef HEADWISE_WORKER_COLLECTIVES_SHARED_MEMORY_GROUP_H_
#define HEADWISE_WORKER_COLLECTIVES_SHARED_MEMORY_GROUP_H_

#include <memory>

#include "absl/status/statusor.h"
#include "worker/collectives/group_factory.h"

namespace headwise {

// Called by PendingGroup::Prepare, which has checked `spec`. Rank 0 makes the
// segment and tells where it is; the others tell only which host they are on.
absl::StatusOr<std::unique_ptr<PendingGroup>> PrepareSharedMemoryGroup(
    const GroupSpec& spec);

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_SHARED_MEMORY_GROUP_H_
