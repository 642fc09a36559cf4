// Groups whose ranks are threads of one process.

#ifndef HEADWISE_WORKER_COLLECTIVES_IN_PROCESS_GROUP_H_
#define HEADWISE_WORKER_COLLECTIVES_IN_PROCESS_GROUP_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/collectives/group.h"
#include "worker/collectives/group_options.h"

namespace headwise {

// One group per rank, by rank; each may live on a thread of its own and outlive
// the others. InvalidArgument unless 1 <= world_size <= kMaxWorldSize.
absl::StatusOr<std::vector<std::unique_ptr<Group>>> CreateInProcessGroups(
    int world_size, uint64_t membership_epoch,
    const GroupOptions& options = {});

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_IN_PROCESS_GROUP_H_
