// Adds what the ranks contributed, element by element, in rank order.

#ifndef HEADWISE_WORKER_COLLECTIVES_SUM_PARTS_H_
#define HEADWISE_WORKER_COLLECTIVES_SUM_PARTS_H_

#include <cstdint>

#include "absl/types/span.h"

namespace headwise {

// sum[i] = parts[0][i] + parts[1][i] + ..., from left to right, for i <
// num_values; int64 modulo 2^64. Requires parts not empty. `sum` may be one of
// the parts, but may not overlap one otherwise.
void SumParts(absl::Span<const int64_t* const> parts, int64_t num_values,
              int64_t* sum);
void SumParts(absl::Span<const float* const> parts, int64_t num_values,
              float* sum);

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_SUM_PARTS_H_
