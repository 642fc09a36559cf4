// What a head plan costs on the workers that serve, and how long a context it
// leaves.

#ifndef HEADWISE_SERVER_FRONTENDS_PLAN_COST_H_
#define HEADWISE_SERVER_FRONTENDS_PLAN_COST_H_

#include <cstdint>
#include <vector>

#include "model/head_plan/kv_forecast.h"
#include "server/frontends/head_map.h"
#include "server/frontends/plan_store.h"
#include "server/frontends/served_model.h"

namespace headwise {

struct PlanCost {
  std::vector<KvBytes> ranks;        // [world_size]
  std::vector<double> ms_per_token;  // [world_size]: a floor, see below
  KvBytes total;
  int64_t full_bytes = 0;  // held, if every unit were full
};

// One sequence of `context_len` tokens, all of them prompt, to
// kMaxForecastContext. Milliseconds are a rank's weights and the KV that a
// token reads, once through the memory of a worker of its speed; arithmetic and
// the exchange of sums come on top. Requires a group: map.world_size > 0.
PlanCost CostOnCluster(const StoredPlan& plan, const ServedModel& model,
                       const HeadMap& map, int64_t context_len);

// Tokens of the longest sequence under the plan that these workers hold, and
// the plan allows. 0: no group stands.
int64_t ServedContextLen(const StoredPlan& plan, const ServedModel& model,
                         const HeadMap& map);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_PLAN_COST_H_
