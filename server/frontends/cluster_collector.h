// The series that are read, not counted: engine and cluster at each scrape.

#ifndef HEADWISE_SERVER_FRONTENDS_CLUSTER_COLLECTOR_H_
#define HEADWISE_SERVER_FRONTENDS_CLUSTER_COLLECTOR_H_

#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/frontends/head_map.h"
#include "server/frontends/worker_skew.h"
#include "server/scheduler/engine.h"

namespace headwise {

// requests_running, requests_waiting and its limit, kv_bytes,
// kv_capacity_bytes, worker_up, worker_epoch, worker_skew_ratio,
// worker_arrivals_total, build_info, all with the prefix headwise_.
// Thread-safe; what it refers to must outlive it.
class ClusterCollector final : public prometheus::Collectable {
 public:
  ClusterCollector(std::string model, const Engine& engine,
                   const ClusterState& cluster, const WorkerSkew& skew);
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  prometheus::MetricFamily MakeSkew(const HeadMap& map) const;
  prometheus::MetricFamily MakeArrivals() const;

  const std::string model_;
  const Engine& engine_;
  const ClusterState& cluster_;
  const WorkerSkew& skew_;
  mutable absl::Mutex mutex_;
  // Every worker that was ever in a head map, so that a dead one reads 0. At
  // most kMaxSeenWorkers: names can't grow the page without bound.
  mutable std::set<std::string> seen_workers_ ABSL_GUARDED_BY(mutex_);
};

inline constexpr size_t kMaxSeenWorkers = 256;

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_CLUSTER_COLLECTOR_H_
