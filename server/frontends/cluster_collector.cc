#include "server/frontends/cluster_collector.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/build_info.h"
#include "base/gauge_family.h"
#include "server/frontends/plain_families.h"

namespace headwise {
namespace {

using Labels = std::vector<prometheus::ClientMetric::Label>;

// The engine may not have heard yet of the group that the map shows.
double ValueOf(const std::vector<int64_t>& by_rank, size_t rank) {
  return rank < by_rank.size() ? static_cast<double>(by_rank[rank]) : 0.0;
}

prometheus::MetricFamily MakePrefixes(const EngineStats& stats) {
  auto family = MakeGauge("headwise_prompt_prefixes",
                          "Prompts that stay, by where they lie.");
  const int64_t elsewhere = stats.parked + stats.evicted;
  AddValue({{"place", "memory"}}, static_cast<double>(stats.held - elsewhere),
           &family);
  AddValue({{"place", "disk"}}, static_cast<double>(stats.parked), &family);
  AddValue({{"place", "tokens"}}, static_cast<double>(stats.evicted), &family);
  return family;
}

prometheus::MetricFamily MakeBuild() {
  const BuildInfo& own = OwnBuild();
  auto family = MakeGauge("headwise_build_info", "1; see the labels.");
  AddValue({{"version", own.version},
            {"numerics", absl::StrCat(own.numerics)},
            {"compiler", __VERSION__}},
           1, &family);
  return family;
}

prometheus::MetricFamily MakeWorkerBuilds(const HeadMap& map) {
  auto family = MakeGauge("headwise_worker_build_info",
                          "1 for each worker of the group; see the labels.");
  for (const HeadMap::Worker& worker : map.workers) {
    AddValue({{"worker", worker.name}, {"version", worker.version}}, 1,
             &family);
  }
  return family;
}

}  // namespace

ClusterCollector::ClusterCollector(std::string model, const Engine& engine,
                                   const ClusterState& cluster,
                                   const WorkerSkew& skew)
    : model_(std::move(model)),
      engine_(engine),
      cluster_(cluster),
      skew_(skew) {}

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

  auto limit = MakeGauge("headwise_requests_waiting_limit",
                         "Requests that the queue takes.");
  AddValue({{"model", model_}}, static_cast<double>(stats.waiting_limit),
           &limit);

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

  return {running,
          waiting,
          limit,
          kv,
          capacity,
          MakePrefixes(stats),
          CounterOf("headwise_batch_preemptions_total",
                    "Requests of priority batch that gave up their place.",
                    static_cast<int64_t>(stats.preemptions_total)),
          CounterOf("headwise_prompt_evictions_total",
                    "Idle prompts whose memory was given to others.",
                    static_cast<int64_t>(stats.evictions_total)),
          epoch,
          up,
          MakeSkew(*map),
          MakeArrivals(),
          MakeWorkerBuilds(*map),
          MakeBuild()};
}

prometheus::MetricFamily ClusterCollector::MakeSkew(const HeadMap& map) const {
  auto family = MakeGauge("headwise_worker_skew_ratio",
                          "A worker's time to compute over that of the others "
                          "of its group, of the last steps.");
  std::vector<std::string> names;
  for (const HeadMap::Worker& worker : map.workers) {
    names.push_back(worker.name);
  }
  const std::vector<double> ratios = skew_.Ratios(names);
  for (size_t i = 0; i < names.size(); ++i) {
    AddValue({{"worker", names[i]}}, ratios[i], &family);
  }
  return family;
}

prometheus::MetricFamily ClusterCollector::MakeArrivals() const {
  prometheus::MetricFamily family;
  family.name = "headwise_worker_arrivals_total";
  family.help = "How often a worker came, each start of its process counted.";
  family.type = prometheus::MetricType::Counter;
  for (const auto& [name, count] : cluster_.worker_arrivals()) {
    prometheus::ClientMetric metric;
    metric.label = {{"worker", name}};
    metric.counter.value = static_cast<double>(count);
    family.metric.push_back(std::move(metric));
  }
  return family;
}

}  // namespace headwise
