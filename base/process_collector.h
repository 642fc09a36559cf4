// The process_* series of this process, and its headwise_memory_limit_bytes,
// read from /proc at each scrape.

#ifndef HEADWISE_BASE_PROCESS_COLLECTOR_H_
#define HEADWISE_BASE_PROCESS_COLLECTOR_H_

#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace headwise {

// Immutable, hence thread-safe. A value that can't be read is left out.
class ProcessCollector final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace headwise

#endif  // HEADWISE_BASE_PROCESS_COLLECTOR_H_
