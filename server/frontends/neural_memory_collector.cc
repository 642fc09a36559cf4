#include "server/frontends/neural_memory_collector.h"

#include <limits>

#include "server/frontends/plain_families.h"

namespace headwise {
namespace {

prometheus::MetricFamily SurpriseFamily(const SurpriseCounts& surprise) {
  prometheus::MetricFamily family = PlainFamily(
      "headwise_memory_surprise",
      "Gradient norm of the loss, of each token and head that was written.",
      prometheus::MetricType::Histogram);
  prometheus::ClientMetric::Histogram& histogram = family.metric[0].histogram;
  uint64_t cumulative = 0;
  for (size_t i = 0; i < surprise.counts.size(); ++i) {
    cumulative += static_cast<uint64_t>(surprise.counts[i]);
    const bool is_last = i == SurpriseCounts::kBounds.size();
    histogram.bucket.push_back(
        {cumulative, is_last ? std::numeric_limits<double>::infinity()
                             : SurpriseCounts::kBounds[i]});
  }
  histogram.sample_count = cumulative;
  histogram.sample_sum = surprise.sum;
  return family;
}

}  // namespace

std::vector<prometheus::MetricFamily> NeuralMemoryCollector::Collect() const {
  const MemoryStats stats = memories_.stats();
  return {
      GaugeOf("headwise_memories", "Neural memories open.", stats.held.count),
      GaugeOf("headwise_memory_state_bytes",
              "Bytes of the weights and momentum of neural memories.",
              stats.state_bytes),
      GaugeOf("headwise_memory_reserved_bytes",
              "Bytes reserved for neural memories, of all workers.",
              stats.held.reserved_bytes),
      CounterOf("headwise_memory_updates_total",
                "Tokens written to neural memories.", stats.num_tokens),
      CounterOf("headwise_memory_rollbacks_total",
                "Writes to neural memories that workers began and undid.",
                stats.num_undone),
      SurpriseFamily(stats.surprise)};
}

}  // namespace headwise
