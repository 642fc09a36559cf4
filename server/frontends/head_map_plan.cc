#include "server/frontends/head_map_plan.h"

#include "model/head_plan/kv_retention.h"
#include "model/head_plan/policy_names.h"

namespace headwise {

void ShowPlan(const StoredPlan& plan, HeadMap* map) {
  map->plan = plan.hash;
  if (plan.plan == nullptr) return;
  for (HeadMap::Unit& unit : map->units) {
    const UnitPolicy& policy = plan.plan->unit(unit.layer, unit.kv_head);
    unit.policy = NameOf(policy.kind);
    unit.policy_description = DescribePolicy(policy);
    if (!IsAsTrained(plan.plan.get(), unit.layer, unit.kv_head)) {
      unit.context_ranks.clear();
    }
  }
}

}  // namespace headwise
