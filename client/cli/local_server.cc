#include "client/cli/local_server.h"

#include <algorithm>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/status_macros.h"
#include "client/cli/cluster_options.h"
#include "client/cli/embedded_cluster.h"
#include "client/cli/plan_choice.h"
#include "client/cli/plan_commands.h"
#include "model/files/model_name.h"
#include "model/head_plan/head_plan_check.h"
#include "model/head_plan/kv_forecast.h"
#include "server/coordinator/cluster_frontends.h"
#include "server/dispatch/model_shape.h"
#include "server/dispatch/static_workers.h"
#include "server/frontends/head_map_plan.h"
#include "server/frontends/placement_forecast.h"
#include "server/frontends/plan_store.h"
#include "server/frontends/quota_file.h"
#include "server/frontends/response_writer.h"
#include "server/placement/planner.h"
#include "spdlog/spdlog.h"
#include "worker/executor/executor.h"

namespace headwise {
namespace {

// The rank of each unit on the local workers, as the cluster will place them;
// for workers elsewhere, as if they were alike.
absl::StatusOr<std::vector<int>> RanksOf(const ClusterFlags& flags,
                                         const ModelShape& shape) {
  std::vector<WorkerCapacity> workers(
      flags.workers.empty() ? static_cast<size_t>(flags.local_workers)
                            : flags.workers.size());
  for (size_t i = 0; i < std::min(workers.size(), flags.speeds.size()); ++i) {
    workers[i].speed = flags.speeds[i];
  }
  HEADWISE_ASSIGN_OR_RETURN(const PlacementPlan plan,
                            PlanPlacement(shape, workers, kKvBlockPositions));
  std::vector<int> ranks;
  for (const std::vector<int>& layer : plan.placement.unit_rank) {
    ranks.insert(ranks.end(), layer.begin(), layer.end());
  }
  return ranks;
}

// Bytes of KV over all units for flags.context_len tokens under `plan` (null:
// as the model was trained), in whole blocks; 0 if the flags leave it to the
// memory of the machine. A cluster shares them out by the number of units of a
// rank, so the rank whose units keep the most decides.
absl::StatusOr<int64_t> KvBytesFor(const ClusterFlags& flags,
                                   const HeadPlan* plan) {
  if (flags.context_len == 0) return 0;
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                            Model::Open(flags.model));
  HEADWISE_ASSIGN_OR_RETURN(const KvType kv_type, ParseKvType(flags.kv_type));
  const ModelShape shape = MakeModelShape(*model, kv_type);
  const int64_t num_units = shape.num_layers * shape.num_units;
  const int64_t block_bytes =
      kKvBlockPositions * num_units * shape.kv_bytes_per_unit_position;
  int64_t num_blocks =
      (flags.context_len + kKvBlockPositions - 1) / kKvBlockPositions;
  const Hyperparameters& hyper = model->hyperparameters();
  const HeadPlan own_plan = DefaultHeadPlan(hyper, "");
  if (plan == nullptr && hyper.titans) plan = &own_plan;
  if (plan != nullptr) {
    KvForecastOptions options;
    options.kv_type = kv_type;
    options.head_dim = hyper.kv_head_dim();
    options.unit_state_bytes = hyper.unit_state_bytes();
    options.context_len = std::min(flags.context_len, kMaxForecastContext);
    options.prompt_len = options.context_len;
    HEADWISE_ASSIGN_OR_RETURN(options.unit_rank, RanksOf(flags, shape));
    const KvForecast forecast = ForecastKv(*plan, options);
    num_blocks = 1;
    for (size_t rank = 0; rank < forecast.ranks.size(); ++rank) {
      const int64_t rank_units =
          std::count(options.unit_rank.begin(), options.unit_rank.end(),
                     static_cast<int>(rank));
      if (rank_units == 0) continue;
      const int64_t rank_block_bytes = block_bytes / num_units * rank_units;
      num_blocks = std::max(
          num_blocks, (forecast.ranks[rank].reserved + rank_block_bytes - 1) /
                          rank_block_bytes);
    }
  }
  return num_blocks * block_bytes;
}

// The plan's model's digest, if it is that of flags.model. Read before anything
// is loaded: a plan for another model is refused at once.
absl::StatusOr<std::string> DigestOfPlansModel(const HeadPlan& plan,
                                               const ClusterFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                            OpenModelOfPlan(plan, flags.model));
  return model->Sha256();
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
    ServerFrontendsOptions frontends;
    if (options.default_plan != nullptr) {
      frontends.default_plan = options.default_plan;
      HEADWISE_ASSIGN_OR_RETURN(
          frontends.model_sha256,
          DigestOfPlansModel(*options.default_plan, options.cluster));
    }
    HEADWISE_ASSIGN_OR_RETURN(
        EmbeddedClusterOptions cluster,
        MakeClusterOptions(options.cluster, options.default_plan.get()));
    cluster.attention = options.attention;
    cluster.attention_bytes = options.attention_bytes;
    cluster.neural_memory_bytes = options.neural_memory_bytes;
    cluster.neural_memory_tenant_bytes = options.neural_memory_tenant_bytes;
    cluster.park_dir = options.park_dir;
    HEADWISE_ASSIGN_OR_RETURN(cluster.quotas, ReadQuotaFile(options.quotas));
    HEADWISE_ASSIGN_OR_RETURN(cluster_, EmbeddedCluster::Create(cluster));
    {
      // The caller's function may end with this call.
      absl::MutexLock lock(&mutex_);
      progress_ = nullptr;
    }
    frontends.listen_address = options.listen_address;
    frontends.security = options.security;
    frontends.metrics_address = options.metrics_address;
    frontends.model_name = ModelNameOf(options.cluster.model);
    frontends.kv_type = options.cluster.kv_type;
    frontends.shape = cluster_->shape();
    frontends.selection = options.selection;
    frontends.selection.has_exact_bits = options.cluster.reduction == "exact";
    return frontends_.Start(
        frontends, model(), engine(), cluster_->membership(),
        [cluster = cluster_.get()] { return cluster->status(); },
        {.attention = cluster_->attention(), .memories = cluster_->memories()});
  }

  const Model& model() const override { return cluster_->model(); }
  Engine& engine() override { return cluster_->engine(); }
  ServerFrontends& frontends() override { return frontends_.frontends(); }

 private:
  absl::StatusOr<EmbeddedClusterOptions> MakeClusterOptions(
      const ClusterFlags& flags, const HeadPlan* plan);

  absl::Mutex mutex_;
  std::function<void(double)> progress_ ABSL_GUARDED_BY(mutex_);

  ClusterFrontends frontends_;
  std::unique_ptr<EmbeddedCluster> cluster_;
};

absl::StatusOr<EmbeddedClusterOptions> LocalServerImpl::MakeClusterOptions(
    const ClusterFlags& flags, const HeadPlan* plan) {
  HEADWISE_ASSIGN_OR_RETURN(EmbeddedClusterOptions options,
                            ClusterOptionsOf(flags));
  HEADWISE_ASSIGN_OR_RETURN(options.kv_capacity_bytes, KvBytesFor(flags, plan));
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

namespace {

// As a server would that has no plan stored.
absl::Status ShowPlanOf(const std::string& name, const Model& model,
                        KvType kv_type, HeadMap* map) {
  HEADWISE_ASSIGN_OR_RETURN(const PlanChoice choice, ReadPlanChoice(name));
  PlanStore plans(model.hyperparameters(), kv_type);
  HEADWISE_ASSIGN_OR_RETURN(StoredPlan stored, plans.Find(choice.name));
  if (choice.plan != nullptr) {
    HEADWISE_RETURN_IF_ERROR(CheckPlanFits(
        *choice.plan, model.hyperparameters(), HashWithProgress(model)));
    stored = plans.Describe(*choice.plan);
  }
  ShowPlan(stored, map);
  return absl::OkStatus();
}

}  // namespace

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
  HEADWISE_ASSIGN_OR_RETURN(HeadMap map, ForecastHeadMap(served, call));
  HEADWISE_RETURN_IF_ERROR(ShowPlanOf(flags.plan, *model, kv_type, &map));
  v1::HeadMap out;
  WriteHeadMap(map, &out);
  return out;
}

}  // namespace headwise
