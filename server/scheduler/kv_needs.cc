#include "server/scheduler/kv_needs.h"

#include <algorithm>
#include <utility>

#include "model/head_plan/context_ranges.h"
#include "model/head_plan/head_plan_check.h"
#include "model/head_plan/kv_forecast.h"
#include "model/head_plan/kv_retention.h"

namespace headwise {
namespace {

static_assert(kMaxCountedContext == kMaxForecastContext);

KvForecastOptions ForecastOptions(const KvGeometry& geometry,
                                  const KvCapacity& capacity) {
  KvForecastOptions options;
  options.kv_type = geometry.kv_type;
  options.head_dim = geometry.head_dim;
  options.unit_state_bytes = geometry.unit_state_bytes;
  options.unit_rank = capacity.unit_rank;
  options.range_rank = capacity.range_rank;
  return options;
}

// An attention's multiplication of floats takes so much longer than one of a
// weight: SmolLM2-135M (Q4_1), an EPYC with AVX-512, prompts of 512 and 4,096.
constexpr double kAttentionTime = 1.6;

double RowPositions(const Hyperparameters& hyper) {
  const int64_t heads_dim = hyper.num_heads * hyper.head_dim;
  const int64_t kv_dim = hyper.num_kv_heads * hyper.head_dim;
  const int64_t of_weights =
      hyper.model_dim * (2 * (heads_dim + kv_dim) + 3 * hyper.ffn_dim);
  const int64_t of_position = 2 * heads_dim;
  return static_cast<double>(of_weights) / (kAttentionTime * of_position);
}

}  // namespace

KvGeometry KvGeometryOf(const Hyperparameters& hyper, KvType kv_type) {
  return {.num_layers = hyper.num_layers,
          .num_kv_heads = hyper.num_kv_heads,
          .heads_per_kv_head = hyper.heads_per_kv_head(),
          .head_dim = hyper.kv_head_dim(),
          .kv_type = kv_type,
          .default_unit = DefaultUnitPolicy(hyper),
          .unit_state_bytes = hyper.unit_state_bytes(),
          .row_positions = RowPositions(hyper)};
}

KvNeeds::KvNeeds(const KvGeometry& geometry, KvCapacity capacity)
    : geometry_(geometry), capacity_(std::move(capacity)) {
  size_t num_ranks = 1;
  for (const int rank : capacity_.unit_rank) {
    num_ranks = std::max(num_ranks, static_cast<size_t>(rank) + 1);
  }
  for (const std::vector<int>& deal : capacity_.range_rank) {
    for (const int rank : deal) {
      num_ranks = std::max(num_ranks, static_cast<size_t>(rank) + 1);
    }
  }
  if (capacity_.rank_bytes.size() < num_ranks) {
    capacity_.rank_bytes.resize(num_ranks, 0);
  }
  default_plan_ = FullHeadPlan(geometry.num_layers, geometry.num_heads(),
                               geometry.num_kv_heads);
  std::fill(default_plan_.units.begin(), default_plan_.units.end(),
            geometry.default_unit);
}

std::vector<int64_t> KvNeeds::Reserved(const HeadPlan* plan,
                                       KvExtent extent) const {
  KvForecastOptions options = ForecastOptions(geometry_, capacity_);
  options.context_len = std::min(extent.length, kMaxCountedContext);
  options.prompt_len = std::min(extent.prompt_len, options.context_len);
  const KvForecast forecast = ForecastKv(PlanOf(plan), options);
  std::vector<int64_t> bytes(capacity_.rank_bytes.size(), 0);
  for (size_t rank = 0; rank < forecast.ranks.size(); ++rank) {
    bytes[rank] = forecast.ranks[rank].reserved;
  }
  return bytes;
}

int64_t KvNeeds::ReadByRow(const HeadPlan* plan, int64_t position) const {
  KvForecastOptions options = ForecastOptions(geometry_, {});
  options.context_len = std::min(position + 1, kMaxCountedContext);
  options.prompt_len = options.context_len;
  return ForecastKv(PlanOf(plan), options).total.read;
}

std::vector<int64_t> KvNeeds::ReservedByFork(const HeadPlan* from,
                                             const HeadPlan* plan,
                                             int64_t shared_len,
                                             KvExtent extent) const {
  std::vector<int64_t> bytes = Reserved(plan, extent);
  const HeadPlan& old_plan = PlanOf(from);
  const HeadPlan& new_plan = PlanOf(plan);
  for (size_t unit = 0; unit < new_plan.units.size(); ++unit) {
    const UnitPolicy& policy = new_plan.units[unit];
    if (Drops(policy) || Drops(old_plan.units[unit])) continue;
    const int64_t position_bytes = KvBytesPerPosition(
        ResolveKvType(policy.kv_type, geometry_.kv_type), geometry_.head_dim);
    const int64_t whole = shared_len / kRetentionBlock * kRetentionBlock;
    const auto at = static_cast<int64_t>(unit);
    const int64_t layer = at / geometry_.num_kv_heads;
    const int64_t kv_head = at % geometry_.num_kv_heads;
    if (!capacity_.range_rank.empty() &&
        IsAsTrained(&new_plan, layer, kv_head) &&
        IsAsTrained(&old_plan, layer, kv_head)) {
      for (size_t rank = 0; rank < bytes.size(); ++rank) {
        bytes[rank] -= BlocksDealtTo(capacity_.range_rank[unit],
                                     static_cast<int>(rank), whole) *
                       kRetentionBlock * position_bytes;
      }
      continue;
    }
    const int rank =
        capacity_.unit_rank.empty() ? 0 : capacity_.unit_rank[unit];
    bytes[static_cast<size_t>(rank)] -= whole * position_bytes;
  }
  return bytes;
}

int64_t KvNeeds::LongestContext(const HeadPlan* plan) const {
  return headwise::LongestContext(PlanOf(plan),
                                  ForecastOptions(geometry_, capacity_),
                                  capacity_.rank_bytes);
}

}  // namespace headwise
