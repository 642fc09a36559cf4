#include "client/cli/local_server.h"

#include <algorithm>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/status_macros.h"
#include "client/cli/embedded_cluster.h"
#include "model/files/model_name.h"
#include "server/coordinator/cluster_frontends.h"
#include "server/dispatch/model_shape.h"
#include "server/dispatch/static_workers.h"
#include "server/frontends/placement_forecast.h"
#include "server/frontends/response_writer.h"
#include "spdlog/spdlog.h"
#include "worker/executor/executor.h"

namespace headwise {
namespace {

// Bytes of KV over all units for flags.context_len tokens, in whole blocks; 0
// if the flags leave it to the memory of the machine.
absl::StatusOr<int64_t> KvBytesFor(const ClusterFlags& flags) {
  if (flags.context_len == 0) return 0;
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                            Model::Open(flags.model));
  HEADWISE_ASSIGN_OR_RETURN(const KvType kv_type, ParseKvType(flags.kv_type));
  const ModelShape shape = MakeModelShape(*model, kv_type);
  const int64_t num_blocks =
      (flags.context_len + kKvBlockPositions - 1) / kKvBlockPositions;
  return num_blocks * kKvBlockPositions * shape.num_layers * shape.num_units *
         shape.kv_bytes_per_unit_position;
}

class LocalServerImpl final : public LocalServer {
 public:
  ~LocalServerImpl() override {
    frontends_.Shutdown(absl::ZeroDuration());
    cluster_.reset();
  }

  absl::Status Start(const LocalServerOptions& options) {
    {
      absl::MutexLock lock(&mutex_);
      progress_ = options.progress;
    }
    HEADWISE_ASSIGN_OR_RETURN(EmbeddedClusterOptions cluster,
                              MakeClusterOptions(options.cluster));
    cluster.attention = options.attention;
    cluster.attention_bytes = options.attention_bytes;
    HEADWISE_ASSIGN_OR_RETURN(cluster_, EmbeddedCluster::Create(cluster));
    {
      // The caller's function may end with this call.
      absl::MutexLock lock(&mutex_);
      progress_ = nullptr;
    }
    ServerFrontendsOptions frontends;
    frontends.listen_address = options.listen_address;
    frontends.metrics_address = options.metrics_address;
    frontends.model_name = ModelNameOf(options.cluster.model);
    frontends.kv_type = options.cluster.kv_type;
    frontends.shape = cluster_->shape();
    return frontends_.Start(
        frontends, model(), engine(),
        [cluster = cluster_.get()] { return cluster->status(); },
        /*extra_services=*/{}, cluster_->attention());
  }

  const Model& model() const override { return cluster_->model(); }
  Engine& engine() override { return cluster_->engine(); }
  ServerFrontends& frontends() override { return frontends_.frontends(); }

 private:
  absl::StatusOr<EmbeddedClusterOptions> MakeClusterOptions(
      const ClusterFlags& flags);

  absl::Mutex mutex_;
  std::function<void(double)> progress_ ABSL_GUARDED_BY(mutex_);

  ClusterFrontends frontends_;
  std::unique_ptr<EmbeddedCluster> cluster_;
};

absl::StatusOr<EmbeddedClusterOptions> LocalServerImpl::MakeClusterOptions(
    const ClusterFlags& flags) {
  EmbeddedClusterOptions options;
  options.model_path = flags.model;
  options.worker_addresses = flags.workers;
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
  HEADWISE_ASSIGN_OR_RETURN(options.kv_capacity_bytes, KvBytesFor(flags));
  options.on_progress = [this](double fraction) {
    absl::MutexLock lock(&mutex_);
    if (progress_) progress_(fraction);
  };
  options.on_sample = frontends_.on_sample();
  options.on_change = frontends_.on_change();
  options.log = [](const std::string& line) { spdlog::info("{}", line); };
  return options;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LocalServer>> LocalServer::Create(
    const LocalServerOptions& options) {
  auto server = std::make_unique<LocalServerImpl>();
  HEADWISE_RETURN_IF_ERROR(server->Start(options));
  return server;
}

absl::Status CheckWorkerAddress(const std::string& address) {
  return ParseAddresses(address).status();
}

absl::StatusOr<v1::HeadMap> PlanLocally(
    const ClusterFlags& flags, const v1::PlanPlacementRequest& request) {
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                            Model::Open(flags.model));
  ServedModel served;
  served.name = ModelNameOf(flags.model);
  served.model = model.get();
  served.kv_type = flags.kv_type;
  HEADWISE_ASSIGN_OR_RETURN(const KvType kv_type, ParseKvType(flags.kv_type));
  served.shape = MakeModelShape(*model, kv_type);
  HEADWISE_ASSIGN_OR_RETURN(const PlacementCall call,
                            ParsePlanPlacementRequest(request, served));
  HEADWISE_ASSIGN_OR_RETURN(const HeadMap map, ForecastHeadMap(served, call));
  v1::HeadMap out;
  WriteHeadMap(map, &out);
  return out;
}

}  // namespace headwise
