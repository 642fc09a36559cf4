#include "server/frontends/plan_collector.h"

namespace headwise {

std::vector<prometheus::MetricFamily> PlanCollector::Collect() const {
  prometheus::MetricFamily family;
  family.name = "headwise_plans";
  family.help = "Head plans stored.";
  family.type = prometheus::MetricType::Gauge;
  family.metric.resize(1);
  family.metric[0].gauge.value = static_cast<double>(plans_.size());
  return {family};
}

}  // namespace headwise
