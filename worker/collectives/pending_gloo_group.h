// How a group over Gloo forms.

#ifndef HEADWISE_WORKER_COLLECTIVES_PENDING_GLOO_GROUP_H_
#define HEADWISE_WORKER_COLLECTIVES_PENDING_GLOO_GROUP_H_

#include <memory>

#include "absl/status/statusor.h"
#include "worker/collectives/group_factory.h"

namespace headwise {

// Called by PendingGroup::Prepare, which has checked `spec`. Makes one
// listening socket per peer and tells their addresses. Ignores SIGPIPE in this
// process if nothing handles it: Gloo writes to sockets that a peer may have
// closed.
absl::StatusOr<std::unique_ptr<PendingGroup>> PrepareGlooGroup(
    const GroupSpec& spec);

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_PENDING_GLOO_GROUP_H_
