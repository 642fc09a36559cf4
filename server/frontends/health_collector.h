// headwise_draining, headwise_workers_missing and
// headwise_coordinator_is_leader, asked at each scrape.

#ifndef HEADWISE_SERVER_FRONTENDS_HEALTH_COLLECTOR_H_
#define HEADWISE_SERVER_FRONTENDS_HEALTH_COLLECTOR_H_

#include <functional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/frontends/head_map.h"
#include "server/frontends/open_calls.h"

namespace headwise {

// What they refer to must outlive it. Thread-safe.
class HealthCollector final : public prometheus::Collectable {
 public:
  // `leads`: as of ServerFrontendsDeps.
  HealthCollector(const ClusterState& cluster, const OpenCalls& open_calls,
                  std::function<absl::Status()> leads)
      : cluster_(cluster), open_calls_(open_calls), leads_(std::move(leads)) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const ClusterState& cluster_;
  const OpenCalls& open_calls_;
  const std::function<absl::Status()> leads_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_HEALTH_COLLECTOR_H_
