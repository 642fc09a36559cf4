// A whole Headwise inside this process: model, workers, engine, frontends.

#ifndef HEADWISE_CLIENT_CLI_LOCAL_SERVER_H_
#define HEADWISE_CLIENT_CLI_LOCAL_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/cli/flags.h"
#include "headwise/v1/admin.pb.h"
#include "model/head_plan/head_plan.h"
#include "model/model.h"
#include "proto/transport_security.h"
#include "server/frontends/server_frontends.h"
#include "server/scheduler/engine.h"

namespace headwise {

struct LocalServerOptions {
  ClusterFlags cluster;
  std::string listen_address;   // empty: no socket
  TransportSecurity security;   // of that socket
  std::string metrics_address;  // empty: none
  bool attention = false;       // serve attention sessions too
  int64_t attention_bytes = 0;  // of all local workers; 0: by memory
  // As of EmbeddedClusterOptions; served with attention.
  int64_t neural_memory_bytes = 0;
  int64_t neural_memory_tenant_bytes = 0;
  std::string park_dir;        // as of EmbeddedClusterOptions
  std::string quotas;          // file of what tenants may have; empty: none
  SelectionFolders selection;  // of selection jobs; empty: none are served
  // Of requests that name none; null: every unit full. Refused before anything
  // is loaded if it is not the model's; cluster.context_len is sized for it.
  std::shared_ptr<const HeadPlan> default_plan;
  // Of loading, from 0 to 1; may come from any thread, one at a time.
  std::function<void(double)> progress;
};

// Thread-safe.
class LocalServer {
 public:
  // The model's errors, the cluster's, the frontends'.
  static absl::StatusOr<std::unique_ptr<LocalServer>> Create(
      const LocalServerOptions& options);
  virtual ~LocalServer() = default;

  virtual const Model& model() const = 0;
  virtual Engine& engine() = 0;
  virtual ServerFrontends& frontends() = 0;
};

// InvalidArgument unless it is host:port.
absl::Status CheckWorkerAddress(const std::string& address);

// The placement that the workers of `request` would get for flags.model,
// without loading a weight. Errors are those of Admin.PlanPlacement.
absl::StatusOr<v1::HeadMap> PlanLocally(
    const ClusterFlags& flags, const v1::PlanPlacementRequest& request);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_LOCAL_SERVER_H_
