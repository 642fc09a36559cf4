#include "server/frontends/attention_collector.h"

#include "server/frontends/plain_families.h"

namespace headwise {

std::vector<prometheus::MetricFamily> AttentionCollector::Collect() const {
  const LeaseStats stats = sessions_.stats();
  return {GaugeOf("headwise_attention_sessions", "Attention sessions open.",
                  stats.count),
          GaugeOf("headwise_attention_bytes",
                  "Bytes reserved for attention sessions, of all workers.",
                  stats.reserved_bytes)};
}

}  // namespace headwise
