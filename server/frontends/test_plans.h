// Plans of FakeModel, for tests.

#ifndef HEADWISE_SERVER_FRONTENDS_TEST_PLANS_H_
#define HEADWISE_SERVER_FRONTENDS_TEST_PLANS_H_

#include "model/head_plan/test_head_plans.h"

namespace headwise {

// Every unit keeps its last `window` positions.
inline HeadPlan StreamingPlan(int64_t window) {
  HeadPlan plan = FullPlan(2, 4, 2);
  for (UnitPolicy& unit : plan.units) {
    unit = {.kind = PolicyKind::kStreaming, .window = window};
  }
  return plan;
}

// And renumbers them, so that contexts may be of any length.
inline HeadPlan EndlessPlan(int64_t window) {
  HeadPlan plan = StreamingPlan(window);
  for (UnitPolicy& unit : plan.units) unit.slot_positions = true;
  return plan;
}

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_TEST_PLANS_H_
