#include "server/placement/measured_speeds.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/check.h"

namespace headwise {

std::vector<double> MeasuredSpeeds(const PlacementPlan& plan,
                                   const std::vector<WorkerCapacity>& workers,
                                   const std::vector<double>& seconds) {
  HEADWISE_CHECK(workers.size() == plan.ranks.size());
  HEADWISE_CHECK(seconds.size() == plan.ranks.size());
  std::vector<double> speeds;
  double declared = 0.0;
  for (size_t rank = 0; rank < seconds.size(); ++rank) {
    // The plan divided the work by the speed that it believed in.
    const double work = plan.ranks[rank].decode_ms * workers[rank].speed;
    if (work <= 0.0 || seconds[rank] <= 0.0) return {};
    speeds.push_back(work / seconds[rank]);
    declared += workers[rank].speed;
  }
  const double least =
      *std::max_element(speeds.begin(), speeds.end()) * kLeastSpeedShare;
  for (double& speed : speeds) speed = std::max(speed, least);
  const double factor =
      declared / std::accumulate(speeds.begin(), speeds.end(), 0.0);
  for (double& speed : speeds) speed *= factor;
  return speeds;
}

double GainOfMoving(const ModelShape& shape, const PlacementPlan& plan,
                    std::vector<WorkerCapacity> workers,
                    const std::vector<double>& speeds, int64_t context_len) {
  HEADWISE_CHECK(workers.size() == speeds.size());
  for (size_t rank = 0; rank < workers.size(); ++rank) {
    workers[rank].speed = speeds[rank];
  }
  const auto moved = PlanPlacement(shape, workers, context_len);
  if (!moved.ok()) return 0.0;
  const double now = DecodeMs(shape, plan.placement, speeds, context_len);
  return 1.0 - moved->decode_ms / now;
}

}  // namespace headwise
