// A family of gauges that is made anew at each scrape.

#ifndef HEADWISE_BASE_GAUGE_FAMILY_H_
#define HEADWISE_BASE_GAUGE_FAMILY_H_

#include <utility>
#include <vector>

#include "prometheus/client_metric.h"
#include "prometheus/metric_family.h"

namespace headwise {

inline prometheus::MetricFamily MakeGauge(const char* name, const char* help) {
  prometheus::MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = prometheus::MetricType::Gauge;
  return family;
}

inline void AddValue(std::vector<prometheus::ClientMetric::Label> labels,
                     double value, prometheus::MetricFamily* family) {
  prometheus::ClientMetric metric;
  metric.label = std::move(labels);
  metric.gauge.value = value;
  family->metric.push_back(std::move(metric));
}

}  // namespace headwise

#endif  // HEADWISE_BASE_GAUGE_FAMILY_H_
