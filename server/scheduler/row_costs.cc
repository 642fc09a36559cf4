#include "server/scheduler/row_costs.h"

#include <algorithm>

#include "base/check.h"

namespace headwise {

RowCosts::RowCosts(const KvGeometry& geometry) : needs_(geometry, {}) {
  const int64_t position_bytes =
      geometry.num_layers * geometry.num_kv_heads *
      KvBytesPerPosition(geometry.kv_type, geometry.head_dim);
  if (position_bytes > 0 && geometry.row_positions > 0) {
    cost_of_byte_ = 1 / (geometry.row_positions * position_bytes);
  }
}

double RowCosts::Of(const HeadPlan* plan, int64_t position) const {
  HEADWISE_CHECK(position >= 0);
  if (cost_of_byte_ == 0) return 1;
  return 1 + cost_of_byte_ * needs_.ReadByRow(plan, position);
}

int64_t RowCosts::RowsWithin(const HeadPlan* plan, int64_t first,
                             int64_t max_rows, double budget) const {
  HEADWISE_CHECK(max_rows >= 1);
  const double first_cost = Of(plan, first);
  int64_t fits = 1;
  for (int64_t above = max_rows + 1; fits + 1 < above;) {
    const int64_t rows = fits + (above - fits) / 2;
    const double mean = (first_cost + Of(plan, first + rows - 1)) / 2;
    if (static_cast<double>(rows) * mean <= budget) {
      fits = rows;
    } else {
      above = rows;
    }
  }
  return fits;
}

}  // namespace headwise
