// An Attend before any worker hears of it: what is refused, which rows go
// together. Pure.

#ifndef HEADWISE_SERVER_ATTENTION_ATTEND_PLAN_H_
#define HEADWISE_SERVER_ATTENTION_ATTEND_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "server/attention/attention_types.h"

namespace headwise {

// Sizes, numbers and budgets. InvalidArgument names field, value and limit.
absl::Status CheckQuery(const AttentionConfig& config,
                        const AttendQuery& query);

// Rows by what they see, as workers want them.
struct OrderedRows {
  std::vector<int64_t> visible_end;  // [query_len], never descending
  std::vector<int64_t> row;          // the query's own index
};
// OutOfRange if a row sees beyond `length`, or a streaming unit no longer has
// what it sees.
absl::StatusOr<OrderedRows> OrderRows(const AttentionConfig& config,
                                      const AttendQuery& query, int64_t length);

// Query rows in order of `rows`, fp32, times softmax_scale:
// [num_kv_heads][query_len][heads_per_kv_head][head_dim]. InvalidArgument names
// query and head of a number that is not finite.
absl::StatusOr<std::vector<float>> ScaleQueries(const AttentionConfig& config,
                                                const AttendQuery& query,
                                                const OrderedRows& rows);

// What is asked of workers in one call: rows and units of half-open ranges.
struct AttendBatch {
  int64_t row_begin = 0;
  int64_t row_end = 0;
  int64_t unit_begin = 0;
  int64_t unit_end = 0;
};
// Bounds a call's answer, if every range comes alone, and its work: about a
// second on two threads, so that others are not held up and a caller that has
// left is noticed.
inline constexpr int64_t kMaxBatchBytes = 8 << 20;
inline constexpr int64_t kMaxBatchFlops = int64_t{1} << 36;
std::vector<AttendBatch> PlanBatches(const SessionShape& shape, int64_t length,
                                     int64_t query_len);

}  // namespace headwise

#endif  // HEADWISE_SERVER_ATTENTION_ATTEND_PLAN_H_
