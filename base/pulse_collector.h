// headwise_thread_heartbeat_age_seconds, read from the pulses at each scrape.

#ifndef HEADWISE_BASE_PULSE_COLLECTOR_H_
#define HEADWISE_BASE_PULSE_COLLECTOR_H_

#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace headwise {

// Of each thread: how long ago its loop has turned, and how long it may take
// now (headwise_thread_heartbeat_allowance_seconds). Immutable, hence
// thread-safe.
class PulseCollector final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace headwise

#endif  // HEADWISE_BASE_PULSE_COLLECTOR_H_
