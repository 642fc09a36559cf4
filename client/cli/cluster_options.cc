#include "client/cli/cluster_options.h"

#include <algorithm>

#include "base/status_macros.h"

namespace headwise {

absl::StatusOr<EmbeddedClusterOptions> ClusterOptionsOf(
    const ClusterFlags& flags) {
  EmbeddedClusterOptions options;
  options.model_path = flags.model;
  options.worker_addresses = flags.workers;
  if (!flags.workers.empty()) {
    HEADWISE_ASSIGN_OR_RETURN(options.security,
                              TransportSecurity::ForClient(flags.tls));
  }
  options.num_workers = flags.local_workers;
  options.threads = flags.threads;
  options.isa = flags.isa;
  options.speeds = flags.speeds;
  HEADWISE_ASSIGN_OR_RETURN(options.group, ParseGroupChoice(flags.group));
  options.ranks_per_context = flags.ranks_per_context;
  HEADWISE_ASSIGN_OR_RETURN(options.kv_type, ParseKvType(flags.kv_type));
  options.fast_reduction = flags.reduction == "fast";
  options.prefill_chunk = flags.prefill_chunk;
  options.max_step_tokens =
      std::max(flags.max_step_tokens, flags.prefill_chunk);
  return options;
}

}  // namespace headwise
