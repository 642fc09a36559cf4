// What a plan costs on a cluster: bytes by policy and by worker, and time.

#ifndef HEADWISE_CLIENT_CLI_PLAN_FORECAST_H_
#define HEADWISE_CLIENT_CLI_PLAN_FORECAST_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "headwise/v1/admin.pb.h"
#include "model/head_plan/head_plan.h"
#include "model/head_plan/kv_forecast.h"
#include "nlohmann/json.hpp"

namespace headwise {

struct PlanForecastOptions {
  KvForecastOptions kv;         // unit_rank is taken from the map
  int64_t memory_bytes = 0;     // of each worker, weights and KV; 0: not asked
  double bytes_per_second = 0;  // that a worker of speed 1 reads; > 0
};

struct PolicyForecast {
  std::string description;
  PolicyKind kind = PolicyKind::kFull;
  int64_t num_units = 0;
  KvBytes kv;
};

struct WorkerForecast {
  std::string name;
  int64_t num_units = 0;
  int64_t weight_bytes = 0;
  KvBytes kv;
  double ms_per_token = 0;  // weights and KV once through its memory
};

struct PlanForecast {
  PlanForecastOptions options;
  KvBytes total;
  KvBytes full;                          // were every unit full
  std::vector<PolicyForecast> policies;  // most units first
  std::vector<WorkerForecast> workers;   // by rank
  double ms_per_token = 0;               // of the slowest worker
  // If memory_bytes was given; 0 if not even the weights fit.
  std::optional<int64_t> longest_context_len;
};

// `map` is the placement of the plan's model: every unit has a rank of a
// worker in it. Requires a plan that CheckHeadPlan accepts.
PlanForecast ForecastPlan(const HeadPlan& plan, const v1::HeadMap& map,
                          const PlanForecastOptions& options);

// A table of policies, one of workers, the longest context and the time.
std::string RenderPlanForecast(const PlanForecast& forecast);
nlohmann::ordered_json PlanForecastToJson(const PlanForecast& forecast);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_PLAN_FORECAST_H_
