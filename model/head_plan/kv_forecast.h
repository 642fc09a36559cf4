// What a plan costs in memory and in reads, before it is applied.

#ifndef HEADWISE_MODEL_HEAD_PLAN_KV_FORECAST_H_
#define HEADWISE_MODEL_HEAD_PLAN_KV_FORECAST_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/head_plan/head_plan.h"
#include "model/head_plan/kv_type.h"

namespace headwise {

inline constexpr int64_t kMaxForecastContext = int64_t{1} << 30;

struct KvForecastOptions {
  KvType kv_type = KvType::kFp16;  // where the plan leaves it to the server
  int64_t head_dim = 0;
  // Bytes of a unit beside keys and values, whatever the plan and the length
  // (Hyperparameters::unit_state_bytes).
  int64_t unit_state_bytes = 0;
  int64_t context_len = 0;  // positions of one sequence, up to the limit above
  int64_t prompt_len = 0;   // the first so many; <= context_len
  std::vector<int> unit_rank;  // [units], each >= 0; empty: all on rank 0
  // [units] or empty: the ranks that a unit's context is dealt to, where the
  // plan leaves it as trained (context_ranges.h).
  std::vector<std::vector<int>> range_rank;
};

struct KvBytes {
  int64_t held = 0;      // at context_len: whole blocks of 64, and summaries
  int64_t reserved = 0;  // the most at any length up to it, steps in flight
                         // included: what admission sets aside
  int64_t read = 0;      // by the query at the last position

  friend bool operator==(const KvBytes&, const KvBytes&) = default;
};

struct KvForecast {
  std::vector<KvBytes> units;  // [units]
  std::vector<KvBytes> ranks;  // [highest rank + 1]
  KvBytes total;
  KvBytes full;  // in all, if every unit were full and of the server's type
};

// Of one sequence. Exact in `held`; `read` counts what the policy must look at,
// each query head for itself where they choose for themselves. Requires a plan
// that CheckHeadPlan accepts. O(units).
KvForecast ForecastKv(const HeadPlan& plan, const KvForecastOptions& options);

// Longest sequence, all of it prompt, for which each rank's reserved bytes are
// within `rank_bytes` [ranks]; at most kMaxForecastContext. 0 if not even one
// position fits.
int64_t LongestContext(const HeadPlan& plan, const KvForecastOptions& options,
                       absl::Span<const int64_t> rank_bytes);

}  // namespace headwise

#endif  // HEADWISE_MODEL_HEAD_PLAN_KV_FORECAST_H_
