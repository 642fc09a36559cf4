// headwise_draining and headwise_workers_missing, asked at each scrape.

#ifndef HEADWISE_SERVER_FRONTENDS_HEALTH_COLLECTOR_H_
#define HEADWISE_SERVER_FRONTENDS_HEALTH_COLLECTOR_H_

#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/frontends/head_map.h"
#include "server/frontends/open_calls.h"

namespace headwise {

// Both must outlive it. Thread-safe.
class HealthCollector final : public prometheus::Collectable {
 public:
  HealthCollector(const ClusterState& cluster, const OpenCalls& open_calls)
      : cluster_(cluster), open_calls_(open_calls) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const ClusterState& cluster_;
  const OpenCalls& open_calls_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_HEALTH_COLLECTOR_H_
