#include "server/frontends/attention_collector.h"

namespace headwise {
namespace {

prometheus::MetricFamily GaugeOf(const char* name, const char* help,
                                 int64_t value) {
  prometheus::MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = prometheus::MetricType::Gauge;
  family.metric.resize(1);
  family.metric[0].gauge.value = static_cast<double>(value);
  return family;
}

}  // namespace

std::vector<prometheus::MetricFamily> AttentionCollector::Collect() const {
  const AttentionStats stats = sessions_.stats();
  return {GaugeOf("headwise_attention_sessions", "Attention sessions open.",
                  stats.num_sessions),
          GaugeOf("headwise_attention_bytes",
                  "Bytes reserved for attention sessions, of all workers.",
                  stats.reserved_bytes)};
}

}  // namespace headwise
