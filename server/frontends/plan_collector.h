// The series of head plans that is read at each scrape.

#ifndef HEADWISE_SERVER_FRONTENDS_PLAN_COLLECTOR_H_
#define HEADWISE_SERVER_FRONTENDS_PLAN_COLLECTOR_H_

#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/frontends/plan_store.h"

namespace headwise {

// headwise_plans. Thread-safe; `plans` must outlive it.
class PlanCollector final : public prometheus::Collectable {
 public:
  explicit PlanCollector(const PlanStore& plans) : plans_(plans) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const PlanStore& plans_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_PLAN_COLLECTOR_H_
