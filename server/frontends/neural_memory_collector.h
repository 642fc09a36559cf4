// The series of neural memories that are read at each scrape.

#ifndef HEADWISE_SERVER_FRONTENDS_NEURAL_MEMORY_COLLECTOR_H_
#define HEADWISE_SERVER_FRONTENDS_NEURAL_MEMORY_COLLECTOR_H_

#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/neural_memory/neural_memories.h"

namespace headwise {

// headwise_memories, headwise_memory_state_bytes and _reserved_bytes (gauges),
// headwise_memory_updates_total (tokens) and _rollbacks_total (writes), and the
// histogram headwise_memory_surprise. None has labels: memories come and go.
// Thread-safe; `memories` must outlive it.
class NeuralMemoryCollector final : public prometheus::Collectable {
 public:
  explicit NeuralMemoryCollector(const NeuralMemories& memories)
      : memories_(memories) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const NeuralMemories& memories_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_NEURAL_MEMORY_COLLECTOR_H_
