// The flags of a cluster as its options.

#ifndef HEADWISE_CLIENT_CLI_CLUSTER_OPTIONS_H_
#define HEADWISE_CLIENT_CLI_CLUSTER_OPTIONS_H_

#include "absl/status/statusor.h"
#include "client/cli/embedded_cluster.h"
#include "client/cli/flags.h"

namespace headwise {

// All that the flags say but context_len, whose bytes depend on the plan.
// InvalidArgument names a word that is none of ours.
absl::StatusOr<EmbeddedClusterOptions> ClusterOptionsOf(
    const ClusterFlags& flags);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_CLUSTER_OPTIONS_H_
