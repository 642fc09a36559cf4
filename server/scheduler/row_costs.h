// How long a row takes, told in rows that see no context.

#ifndef HEADWISE_SERVER_SCHEDULER_ROW_COSTS_H_
#define HEADWISE_SERVER_SCHEDULER_ROW_COSTS_H_

#include <cstdint>

#include "model/head_plan/head_plan.h"
#include "server/scheduler/kv_needs.h"

namespace headwise {

// A row's products with the weights cost 1, its attention as much more as it
// sees positions: a row at position 100,000 of SmolLM2-135M takes as long as 50
// at its begin. So a step filled by cost takes about as long at any depth, and
// a prompt holds others up by so much and no more. Pure functions.
class RowCosts {
 public:
  explicit RowCosts(const KvGeometry& geometry);

  // Of the row at `position` >= 0 under a plan; null: the default one. At least
  // 1. O(units).
  double Of(const HeadPlan* plan, int64_t position) const;

  // The most rows from position `first` on that cost no more than `budget`,
  // taken as the mean of the first and the last: at least 1, at most
  // `max_rows` >= 1.
  int64_t RowsWithin(const HeadPlan* plan, int64_t first, int64_t max_rows,
                     double budget) const;

 private:
  KvNeeds needs_;
  double cost_of_byte_ = 0;  // of KV that a row looks at
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_ROW_COSTS_H_
