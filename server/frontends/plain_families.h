// Series without labels, for collectors that are asked at each scrape.

#ifndef HEADWISE_SERVER_FRONTENDS_PLAIN_FAMILIES_H_
#define HEADWISE_SERVER_FRONTENDS_PLAIN_FAMILIES_H_

#include <cstdint>

#include "prometheus/metric_family.h"

namespace headwise {

inline prometheus::MetricFamily PlainFamily(const char* name, const char* help,
                                            prometheus::MetricType type) {
  prometheus::MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  family.metric.resize(1);
  return family;
}

inline prometheus::MetricFamily GaugeOf(const char* name, const char* help,
                                        int64_t value) {
  prometheus::MetricFamily family =
      PlainFamily(name, help, prometheus::MetricType::Gauge);
  family.metric[0].gauge.value = static_cast<double>(value);
  return family;
}

inline prometheus::MetricFamily CounterOf(const char* name, const char* help,
                                          int64_t value) {
  prometheus::MetricFamily family =
      PlainFamily(name, help, prometheus::MetricType::Counter);
  family.metric[0].counter.value = static_cast<double>(value);
  return family;
}

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_PLAIN_FAMILIES_H_
