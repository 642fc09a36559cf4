// The head map that workers would get: a dry run for PlanPlacement.

#ifndef HEADWISE_SERVER_FRONTENDS_PLACEMENT_FORECAST_H_
#define HEADWISE_SERVER_FRONTENDS_PLACEMENT_FORECAST_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "headwise/v1/admin.pb.h"
#include "server/frontends/head_map.h"
#include "server/frontends/served_model.h"
#include "server/placement/planner.h"

namespace headwise {

inline constexpr int kMaxPlannedWorkers = 64;
inline constexpr int kMaxWorkerNameBytes = 256;

struct PlacementCall {
  std::vector<WorkerCapacity> workers;
  int64_t context_len = 1;  // tokens
};

// NotFound: another model. InvalidArgument: a field out of its limits.
absl::StatusOr<PlacementCall> ParsePlanPlacementRequest(
    const v1::PlanPlacementRequest& request, const ServedModel& model);

// Pure. Errors are PlanPlacement's.
absl::StatusOr<HeadMap> ForecastHeadMap(const ServedModel& model,
                                        const PlacementCall& call);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_PLACEMENT_FORECAST_H_
