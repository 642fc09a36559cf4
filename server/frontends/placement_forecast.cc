#include "server/frontends/placement_forecast.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/frontends/request_parser.h"
#include "server/frontends/rich_status.h"

namespace headwise {
namespace {

absl::StatusOr<WorkerCapacity> ParseWorker(const v1::PlannedWorker& worker,
                                           int rank) {
  const std::string field = absl::StrCat("workers[", rank, "]");
  if (worker.name().size() > kMaxWorkerNameBytes) {
    return InvalidField(
        absl::StrCat(field, ".name"),
        absl::StrCat("has ", worker.name().size(), " bytes; at most ",
                     kMaxWorkerNameBytes, " are allowed"));
  }
  if (!std::isfinite(worker.speed()) || worker.speed() < 0) {
    return InvalidField(
        absl::StrCat(field, ".speed"),
        absl::StrCat("is ", worker.speed(),
                     "; must be a positive number, or 0 for 1"));
  }
  if (worker.memory_bytes() < 0) {
    return InvalidField(absl::StrCat(field, ".memory_bytes"),
                        absl::StrCat("is ", worker.memory_bytes(),
                                     "; must be 0 (unlimited) or more"));
  }
  WorkerCapacity capacity;
  capacity.name =
      worker.name().empty() ? absl::StrCat("worker-", rank) : worker.name();
  capacity.speed = worker.speed() == 0 ? 1.0 : worker.speed();
  capacity.memory_bytes = worker.memory_bytes();
  return capacity;
}

}  // namespace

absl::StatusOr<PlacementCall> ParsePlanPlacementRequest(
    const v1::PlanPlacementRequest& request, const ServedModel& model) {
  HEADWISE_RETURN_IF_ERROR(CheckModelName(request.model(), model));
  if (request.workers().empty() ||
      request.workers_size() > kMaxPlannedWorkers) {
    return InvalidField("workers", absl::StrCat("has ", request.workers_size(),
                                                " workers; must have 1 to ",
                                                kMaxPlannedWorkers));
  }
  const int64_t max_len = model.model->hyperparameters().max_context_len;
  if (request.context_len() < 0 || request.context_len() > max_len) {
    return InvalidField("context_len",
                        absl::StrCat("is ", request.context_len(),
                                     "; must be from 0 to ", max_len));
  }
  PlacementCall call;
  for (int rank = 0; rank < request.workers_size(); ++rank) {
    HEADWISE_ASSIGN_OR_RETURN(WorkerCapacity worker,
                              ParseWorker(request.workers(rank), rank));
    call.workers.push_back(std::move(worker));
  }
  if (request.context_len() > 0) call.context_len = request.context_len();
  return call;
}

absl::StatusOr<HeadMap> ForecastHeadMap(const ServedModel& model,
                                        const PlacementCall& call) {
  const ModelShape& shape = model.shape;
  HEADWISE_ASSIGN_OR_RETURN(
      const PlacementPlan plan,
      PlanPlacement(shape, call.workers, call.context_len));
  HeadMap map;
  map.model = model.name;
  map.world_size = plan.placement.world_size;
  map.group_kind = "planned";
  map.num_layers = shape.num_layers;
  map.num_heads = model.model->hyperparameters().num_heads;
  map.num_kv_heads = shape.num_units;
  map.forecast_ms_per_token = plan.decode_ms;
  // Memory may allow more than the model was trained for.
  map.max_context_len = std::min(
      plan.max_context_len, model.model->hyperparameters().max_context_len);
  for (int rank = 0; rank < plan.placement.world_size; ++rank) {
    const RankForecast& forecast = plan.ranks[rank];
    HeadMap::Worker worker;
    worker.name = call.workers[rank].name;
    worker.rank = rank;
    worker.speed = call.workers[rank].speed;
    worker.num_units = forecast.num_units;
    worker.num_mlp_tiles = forecast.num_mlp_tiles;
    worker.num_vocab_tiles = forecast.num_vocab_tiles;
    worker.weight_bytes = forecast.weight_bytes;
    worker.kv_bytes_per_token = forecast.kv_bytes_per_position;
    worker.kv_capacity_bytes =
        call.workers[rank].memory_bytes == 0 ? 0 : forecast.kv_capacity_bytes;
    worker.forecast_ms_per_token = forecast.decode_ms;
    map.workers.push_back(std::move(worker));
  }
  for (int64_t layer = 0; layer < shape.num_layers; ++layer) {
    for (int64_t unit = 0; unit < shape.num_units; ++unit) {
      map.units.push_back(
          {.layer = layer,
           .kv_head = unit,
           .rank = plan.placement.unit_rank[layer][unit],
           .weight_bytes = shape.unit_weight_bytes,
           .kv_bytes_per_token = shape.kv_bytes_per_unit_position});
    }
  }
  return map;
}

}  // namespace headwise
