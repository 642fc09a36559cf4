#include "server/frontends/plan_cost.h"

#include <algorithm>
#include <limits>

#include "model/head_plan/head_plan_check.h"
#include "model/head_plan/kv_type.h"

namespace headwise {
namespace {

// Of a worker of speed 1, as placement takes it (planner.cc).
constexpr double kBytesPerMs = 17.5e6;

KvForecastOptions OptionsOn(const ServedModel& model, const HeadMap& map) {
  KvForecastOptions options;
  // The frontends' options were checked.
  options.kv_type = ParseKvType(model.kv_type).value_or(KvType::kFp16);
  const Hyperparameters& hyper = model.model->hyperparameters();
  options.head_dim = hyper.kv_head_dim();
  options.unit_state_bytes = hyper.unit_state_bytes();
  for (const HeadMap::Unit& unit : map.units) {
    options.unit_rank.push_back(unit.rank);
  }
  return options;
}

}  // namespace

PlanCost CostOnCluster(const StoredPlan& plan, const ServedModel& model,
                       const HeadMap& map, int64_t context_len) {
  KvForecastOptions options = OptionsOn(model, map);
  options.context_len = std::min(context_len, kMaxForecastContext);
  options.prompt_len = options.context_len;
  const KvForecast forecast =
      plan.plan != nullptr
          ? ForecastKv(*plan.plan, options)
          : ForecastKv(DefaultHeadPlan(model.model->hyperparameters(), ""),
                       options);
  PlanCost cost;
  cost.ranks = forecast.ranks;
  cost.ranks.resize(map.workers.size());
  cost.total = forecast.total;
  cost.full_bytes = forecast.full.held;
  for (size_t rank = 0; rank < map.workers.size(); ++rank) {
    const HeadMap::Worker& worker = map.workers[rank];
    cost.ms_per_token.push_back(
        static_cast<double>(worker.weight_bytes + cost.ranks[rank].read) /
        (kBytesPerMs * worker.speed));
  }
  return cost;
}

int64_t ServedContextLen(const StoredPlan& plan, const ServedModel& model,
                         const HeadMap& map) {
  if (map.world_size == 0 || plan.plan == nullptr) return map.max_context_len;
  std::vector<int64_t> rank_bytes;
  for (const HeadMap::Worker& worker : map.workers) {
    rank_bytes.push_back(worker.kv_capacity_bytes > 0
                             ? worker.kv_capacity_bytes
                             : std::numeric_limits<int64_t>::max());
  }
  return std::min(
      plan.longest_context_len,
      LongestContext(*plan.plan, OptionsOn(model, map), rank_bytes));
}

}  // namespace headwise
