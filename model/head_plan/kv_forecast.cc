#include "model/head_plan/kv_forecast.h"

#include <algorithm>

#include "model/head_plan/context_ranges.h"
#include "model/head_plan/kv_retention.h"

namespace headwise {
namespace {

struct UnitShape {
  KvType kv_type;  // the server's
  int64_t head_dim;
  int64_t heads_per_kv_head;
  int64_t state_bytes;
};

// Positions whose keys and values the query at the last position attends to;
// of all query heads that choose for themselves.
int64_t PositionsRead(const UnitPolicy& policy, const UnitShape& shape,
                      int64_t length, int64_t prompt_len) {
  switch (policy.kind) {
    case PolicyKind::kFull:
    case PolicyKind::kLandmarkOracle:
      return length;
    case PolicyKind::kStreaming:
    case PolicyKind::kRazor:
      return std::min(length, policy.num_sinks + WindowOf(policy, prompt_len));
    case PolicyKind::kLongHeads:
    case PolicyKind::kQuest:
    case PolicyKind::kLandmark: {
      const int64_t seen =
          std::min(length, policy.num_chunks * policy.chunk_len);
      return policy.per_query_head ? shape.heads_per_kv_head * seen : seen;
    }
  }
  return length;
}

// Bytes beside keys and values that it looks at to choose, or as a slot.
int64_t SummaryBytesRead(const UnitPolicy& policy, const UnitShape& shape,
                         int64_t length) {
  constexpr int64_t kFloat = 4;
  const int64_t vector_bytes = shape.head_dim * kFloat;
  switch (policy.kind) {
    case PolicyKind::kRazor:
      return 2 * vector_bytes;
    case PolicyKind::kLongHeads:
      return length / policy.chunk_len * shape.heads_per_kv_head * vector_bytes;
    case PolicyKind::kQuest:
      return (length + kRetentionBlock - 1) / kRetentionBlock * 2 *
             vector_bytes;
    case PolicyKind::kLandmark:
      return length / policy.chunk_len * vector_bytes;
    case PolicyKind::kFull:
    case PolicyKind::kStreaming:
    case PolicyKind::kLandmarkOracle:
      return 0;
  }
  return 0;
}

KvBytes ForecastUnit(const UnitPolicy& policy, const UnitShape& shape,
                     int64_t length, int64_t prompt_len) {
  const int64_t position_bytes = KvBytesPerPosition(
      ResolveKvType(policy.kv_type, shape.kv_type), shape.head_dim);
  const int64_t block_bytes = kRetentionBlock * position_bytes;
  const int64_t extra =
      ExtraBytesHeld(policy, length, shape.head_dim, shape.heads_per_kv_head) +
      shape.state_bytes;
  return {.held = BlocksHeld(policy, length, prompt_len) * block_bytes + extra,
          .reserved =
              MaxBlocksHeld(policy, length, prompt_len) * block_bytes + extra,
          .read = PositionsRead(policy, shape, length, prompt_len) *
                      position_bytes +
                  SummaryBytesRead(policy, shape, length) + shape.state_bytes};
}

void Add(const KvBytes& bytes, KvBytes* sum) {
  sum->held += bytes.held;
  sum->reserved += bytes.reserved;
  sum->read += bytes.read;
}

// What each rank has of a full unit whose context is dealt to several.
void AddDealt(const KvBytes& unit, const std::vector<int>& deal, int64_t length,
              std::vector<KvBytes>* ranks) {
  const int64_t all = (length + kRetentionBlock - 1) / kRetentionBlock;
  for (size_t rank = 0; rank < ranks->size(); ++rank) {
    const int64_t blocks = BlocksDealtTo(deal, static_cast<int>(rank), length);
    if (blocks == 0) continue;
    Add({.held = unit.held / all * blocks,
         .reserved = unit.reserved / all * blocks,
         .read = unit.read / all * blocks},
        &(*ranks)[rank]);
  }
}

int NumRanks(const KvForecastOptions& options) {
  int most = 0;
  for (const int rank : options.unit_rank) most = std::max(most, rank);
  for (const std::vector<int>& deal : options.range_rank) {
    for (const int rank : deal) most = std::max(most, rank);
  }
  return most + 1;
}

}  // namespace

KvForecast ForecastKv(const HeadPlan& plan, const KvForecastOptions& options) {
  const UnitShape shape = {
      .kv_type = options.kv_type,
      .head_dim = options.head_dim,
      .heads_per_kv_head = plan.num_heads / plan.num_kv_heads,
      .state_bytes = options.unit_state_bytes};
  KvForecast forecast;
  forecast.ranks.resize(static_cast<size_t>(NumRanks(options)));
  const KvBytes full_unit =
      ForecastUnit({}, shape, options.context_len, options.prompt_len);
  for (size_t i = 0; i < plan.units.size(); ++i) {
    const KvBytes unit = ForecastUnit(plan.units[i], shape, options.context_len,
                                      options.prompt_len);
    forecast.units.push_back(unit);
    const auto at = static_cast<int64_t>(i);
    if (!options.range_rank.empty() &&
        IsAsTrained(&plan, at / plan.num_kv_heads, at % plan.num_kv_heads)) {
      AddDealt(unit, options.range_rank[i], options.context_len,
               &forecast.ranks);
    } else {
      const int rank = options.unit_rank.empty() ? 0 : options.unit_rank[i];
      Add(unit, &forecast.ranks[static_cast<size_t>(rank)]);
    }
    Add(unit, &forecast.total);
    Add(full_unit, &forecast.full);
  }
  return forecast;
}

int64_t LongestContext(const HeadPlan& plan, const KvForecastOptions& options,
                       absl::Span<const int64_t> rank_bytes) {
  const auto fits = [&](int64_t length) {
    KvForecastOptions at = options;
    at.context_len = at.prompt_len = length;
    const KvForecast forecast = ForecastKv(plan, at);
    for (size_t rank = 0; rank < forecast.ranks.size(); ++rank) {
      if (forecast.ranks[rank].reserved > rank_bytes[rank]) return false;
    }
    return true;
  };
  // What is reserved never shrinks as the sequence grows.
  int64_t fitting = 0;
  int64_t beyond = kMaxForecastContext + 1;
  while (beyond - fitting > 1) {
    const int64_t middle = fitting + (beyond - fitting) / 2;
    (fits(middle) ? fitting : beyond) = middle;
  }
  return fitting;
}

}  // namespace headwise
