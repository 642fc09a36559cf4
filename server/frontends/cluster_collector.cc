#include "server/frontends/cluster_collector.h"

#include <utility>

namespace headwise {
namespace {

using Labels = std::vector<prometheus::ClientMetric::Label>;

prometheus::MetricFamily MakeGauge(const char* name, const char* help) {
  prometheus::MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = prometheus::MetricType::Gauge;
  return family;
}

void AddValue(Labels labels, double value, prometheus::MetricFamily* family) {
  prometheus::ClientMetric metric;
  metric.label = std::move(labels);
  metric.gauge.value = value;
  family->metric.push_back(std::move(metric));
}

// The engine may not have heard yet of the group that the map shows.
double ValueOf(const std::vector<int64_t>& by_rank, size_t rank) {
  return rank < by_rank.size() ? static_cast<double>(by_rank[rank]) : 0.0;
}

}  // namespace

ClusterCollector::ClusterCollector(std::string model, const Engine& engine,
                                   const ClusterState& cluster)
    : model_(std::move(model)), engine_(engine), cluster_(cluster) {}

std::vector<prometheus::MetricFamily> ClusterCollector::Collect() const {
  const EngineStats stats = engine_.stats();
  const std::shared_ptr<const HeadMap> map = cluster_.head_map();
  const bool ready = cluster_.ready();

  auto running =
      MakeGauge("headwise_requests_running", "Requests that take steps.");
  AddValue({{"model", model_}}, static_cast<double>(stats.running), &running);
  auto waiting =
      MakeGauge("headwise_requests_waiting", "Requests in the queue.");
  AddValue({{"model", model_}}, static_cast<double>(stats.waiting), &waiting);

  auto kv = MakeGauge("headwise_kv_bytes",
                      "KV cache in use, in memory and in parked files.");
  auto capacity =
      MakeGauge("headwise_kv_capacity_bytes", "KV cache that may be used.");
  auto epoch = MakeGauge("headwise_worker_epoch",
                         "Membership epoch in which the worker serves.");
  std::set<std::string> up_now;
  for (size_t rank = 0; rank < map->workers.size(); ++rank) {
    const HeadMap::Worker& worker = map->workers[rank];
    const Labels name = {{"worker", worker.name}};
    const Labels memory = {{"tier", "memory"}, {"worker", worker.name}};
    const Labels disk = {{"tier", "disk"}, {"worker", worker.name}};
    AddValue(memory, ValueOf(stats.kv_bytes_used, rank), &kv);
    AddValue(disk, ValueOf(stats.parked_bytes, rank), &kv);
    AddValue(memory, static_cast<double>(worker.kv_capacity_bytes), &capacity);
    AddValue(name, static_cast<double>(map->membership_epoch), &epoch);
    if (ready) up_now.insert(worker.name);
  }

  auto up = MakeGauge("headwise_worker_up", "1: serves in a standing group.");
  {
    absl::MutexLock lock(&mutex_);
    for (const HeadMap::Worker& worker : map->workers) {
      if (seen_workers_.size() < kMaxSeenWorkers) {
        seen_workers_.insert(worker.name);
      }
    }
    for (const std::string& name : seen_workers_) {
      AddValue({{"worker", name}}, up_now.count(name) > 0 ? 1 : 0, &up);
    }
  }

  auto build = MakeGauge("headwise_build_info", "1; see the labels.");
  AddValue({{"version", HEADWISE_VERSION}, {"compiler", __VERSION__}}, 1,
           &build);
  return {running, waiting, kv, capacity, epoch, up, build};
}

}  // namespace headwise
