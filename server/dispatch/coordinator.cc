#include "server/dispatch/coordinator.h"

#include <algorithm>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/dispatch/model_shape.h"

namespace headwise {
namespace {

// MemAvailable of /proc/meminfo, or 0.
int64_t AvailableBytes() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  int64_t kilobytes = 0;
  std::string unit;
  while (file >> key >> kilobytes) {
    std::getline(file, unit);
    if (key == "MemAvailable:") return kilobytes * 1024;
  }
  return 0;
}

ClusterDispatcherOptions DispatcherOptions(const CoordinatorOptions& options,
                                           const Hyperparameters& hyper,
                                           SpeedKeeper* speeds) {
  ClusterDispatcherOptions out;
  out.step_timeout = options.step_timeout;
  out.limits.vocab_size = hyper.vocab_size;
  out.limits.model_dim = hyper.model_dim;
  out.limits.probes = {hyper.num_layers, hyper.num_heads};
  out.may_command = options.may_command;
  out.on_sample = [speeds, tell = options.on_sample](const StepSample& sample) {
    speeds->Add(sample);
    if (tell) tell(sample);
  };
  return out;
}

ClusterManagerOptions ManagerOptions(const CoordinatorOptions& options,
                                     const Model& model,
                                     const ModelShape& shape) {
  ClusterManagerOptions out;
  out.former.model_path = options.model_path;
  if (options.check_model_sha256) out.former.model_sha256 = model.Sha256();
  out.former.shape = shape;
  out.former.kv_type = options.kv_type;
  if (model.hyperparameters().titans) {
    out.former.kv = KvGeometryOf(model.hyperparameters(), options.kv_type);
  }
  out.former.kv_capacity_bytes = options.kv_capacity_bytes > 0
                                     ? options.kv_capacity_bytes
                                     : DefaultKvBytes();
  out.former.max_step_tokens = options.engine.max_step_tokens;
  out.former.group = options.group;
  out.former.fast_reduction = options.fast_reduction;
  out.former.ranks_per_context = options.ranks_per_context;
  out.former.group_timeout = options.group_timeout;
  out.former.on_progress = options.on_progress;
  out.min_workers = options.min_workers;
  out.grow_patience = options.grow_patience;
  out.may_command = options.may_command;
  out.on_change = options.on_change;
  out.log = options.log;
  return out;
}

absl::Status CheckOptions(const CoordinatorOptions& options,
                          const Hyperparameters& hyper) {
  if (options.ranks_per_context > 1 && hyper.titans) {
    return absl::UnimplementedError(
        absl::StrCat("ranks_per_context ", options.ranks_per_context,
                     ": the contexts of titans models are not cut over ranks"));
  }
  if (options.kv_capacity_bytes < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("kv_capacity_bytes is ", options.kv_capacity_bytes,
                     ", must be 0 (default) or more"));
  }
  const int64_t rows = options.engine.max_step_tokens;
  if (rows < 1 || rows > (1 << 20)) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_step_tokens is ", rows, ", allowed 1 to ", 1 << 20));
  }
  if (options.engine.prefill_chunk < 1 || options.engine.prefill_chunk > rows) {
    return absl::InvalidArgumentError(
        absl::StrCat("prefill_chunk is ", options.engine.prefill_chunk,
                     ", allowed 1 to max_step_tokens ", rows));
  }
  return absl::OkStatus();
}

}  // namespace

int64_t DefaultKvBytes() {
  return std::clamp<int64_t>(AvailableBytes() / 4, int64_t{64} << 20,
                             int64_t{16} << 30);
}

Coordinator::Coordinator(const CoordinatorOptions& options,
                         std::shared_ptr<const Model> model,
                         const ModelShape& shape)
    : model_(std::move(model)),
      shape_(shape),
      membership_(options.membership, Clock::Monotonic()),
      speeds_({.shape = shape}, Clock::Monotonic()),
      dispatcher_(
          DispatcherOptions(options, model_->hyperparameters(), &speeds_),
          Clock::Monotonic()) {}

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Create(
    const CoordinatorOptions& options, std::shared_ptr<const Model> model,
    std::function<std::shared_ptr<WorkerLink>(const MemberInfo&)> make_link) {
  HEADWISE_RETURN_IF_ERROR(CheckOptions(options, model->hyperparameters()));
  const ModelShape shape = MakeModelShape(*model, options.kv_type);
  std::unique_ptr<Coordinator> coordinator(
      new Coordinator(options, std::move(model), shape));
  EngineOptions engine = options.engine;
  engine.kv_capacity = {};
  const Hyperparameters& hyper = coordinator->model_->hyperparameters();
  engine.kv = KvGeometryOf(hyper, options.kv_type);
  engine.max_context_len = hyper.max_context_len;
  coordinator->engine_ =
      Engine::Create(engine, coordinator->dispatcher_, Clock::Monotonic());
  coordinator->engine_->Suspend(
      absl::UnavailableError("no group of workers stands yet"),
      GroupEnd::kPlanned);
  coordinator->manager_ = std::make_unique<ClusterManager>(
      ManagerOptions(options, *coordinator->model_, shape),
      ClusterManagerDeps{coordinator->membership_, coordinator->dispatcher_,
                         *coordinator->engine_, Clock::Monotonic(),
                         std::move(make_link), &coordinator->speeds_});
  coordinator->manager_->Start();
  return coordinator;
}

Coordinator::~Coordinator() = default;

void Coordinator::Follow(const absl::Status& why) {
  engine_->Refuse(why);
  membership_.Close(why);
}

void Coordinator::Lead(uint64_t first_epoch) {
  membership_.Open(first_epoch);
  engine_->Refuse(absl::OkStatus());
}

}  // namespace headwise
