#include "server/frontends/plan_collector.h"

#include "server/frontends/plain_families.h"

namespace headwise {

std::vector<prometheus::MetricFamily> PlanCollector::Collect() const {
  return {GaugeOf("headwise_plans", "Head plans stored.",
                  static_cast<int64_t>(plans_.size()))};
}

}  // namespace headwise
