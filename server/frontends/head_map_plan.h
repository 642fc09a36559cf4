// The head map under a head plan.

#ifndef HEADWISE_SERVER_FRONTENDS_HEAD_MAP_PLAN_H_
#define HEADWISE_SERVER_FRONTENDS_HEAD_MAP_PLAN_H_

#include "server/frontends/head_map.h"
#include "server/frontends/plan_store.h"

namespace headwise {

// Units show the plan's policies; contexts stay cut only where the plan leaves
// units as trained. Requires a plan that fits the map's model.
void ShowPlan(const StoredPlan& plan, HeadMap* map);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_HEAD_MAP_PLAN_H_
