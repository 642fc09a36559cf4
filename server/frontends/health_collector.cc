#include "server/frontends/health_collector.h"

#include "base/gauge_family.h"

namespace headwise {

std::vector<prometheus::MetricFamily> HealthCollector::Collect() const {
  auto draining = MakeGauge("headwise_draining",
                            "1: takes no new work, and will shut down.");
  AddValue({}, open_calls_.closed() ? 1 : 0, &draining);
  auto missing = MakeGauge("headwise_workers_missing",
                           "Workers that are not in the group and should be; "
                           "/healthz/ready names them.");
  AddValue({}, static_cast<double>(cluster_.missing_workers().size()),
           &missing);
  auto leader = MakeGauge("headwise_coordinator_is_leader",
                          "1: this one leads, or is the only one.");
  AddValue({}, !leads_ || leads_().ok() ? 1 : 0, &leader);
  return {draining, missing, leader};
}

}  // namespace headwise
