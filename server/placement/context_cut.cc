#include "server/placement/context_cut.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "model/head_plan/kv_retention.h"

namespace headwise {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

// Of a unit's weights, those that are not its output's.
int64_t ProjectionBytes(const ModelShape& shape) {
  const int64_t rows = 2 * shape.heads_per_kv_head + 2;
  return (shape.unit_weight_bytes * (shape.heads_per_kv_head + 2) + rows - 1) /
         rows;
}

// Units of the model's, in sixteenths, that each rank holds ranges of.
void AddShares(const std::vector<int>& deal, std::vector<int64_t>* sixteenths) {
  for (const int rank : deal) ++(*sixteenths)[rank];
}

}  // namespace

std::vector<int> DealRanges(const std::vector<int>& ranks,
                            const std::vector<double>& speeds) {
  // Every range goes to the rank that is furthest behind its share; each begins
  // with one, in order.
  std::vector<int> deal;
  std::vector<double> dealt(ranks.size(), 0.0);
  double sum = 0.0;
  for (const int rank : ranks) sum += speeds[rank];
  for (int i = 0; i < kRangesPerDeal; ++i) {
    size_t next = 0;
    double most_behind = -std::numeric_limits<double>::infinity();
    const auto left = static_cast<size_t>(kRangesPerDeal - i);
    const auto waiting =
        static_cast<size_t>(std::count(dealt.begin(), dealt.end(), 0.0));
    for (size_t r = 0; r < ranks.size(); ++r) {
      if (waiting >= left && dealt[r] > 0.0) continue;
      const double due = (i + 1) * speeds[ranks[r]] / sum;
      if (due - dealt[r] > most_behind) {
        most_behind = due - dealt[r];
        next = r;
      }
    }
    dealt[next] += 1.0;
    deal.push_back(ranks[next]);
  }
  return deal;
}

absl::Status CutContexts(const ModelShape& shape,
                         const std::vector<WorkerCapacity>& workers,
                         int ranks_per_unit, PlacementPlan* plan) {
  const int world_size = static_cast<int>(workers.size());
  if (ranks_per_unit < 1 || ranks_per_unit > world_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("contexts are to be cut over ", ranks_per_unit,
                     " ranks each, must be 1 to ", world_size));
  }
  if (ranks_per_unit == 1) return absl::OkStatus();
  std::vector<double> speeds;
  for (const WorkerCapacity& worker : workers) speeds.push_back(worker.speed);
  std::vector<int64_t> sixteenths(workers.size(), 0);
  for (const std::vector<int>& layer : plan->placement.unit_rank) {
    std::vector<std::vector<int>>& deals =
        plan->placement.range_rank.emplace_back();
    for (const int owner : layer) {
      std::vector<int> ranks;
      for (int i = 0; i < ranks_per_unit; ++i) {
        ranks.push_back((owner + i) % world_size);
        if (i > 0) {
          plan->ranks[ranks.back()].weight_bytes += ProjectionBytes(shape);
        }
      }
      deals.push_back(DealRanges(ranks, speeds));
      AddShares(deals.back(), &sixteenths);
    }
  }
  plan->max_context_len = kUnlimited;
  for (size_t rank = 0; rank < workers.size(); ++rank) {
    RankForecast& forecast = plan->ranks[rank];
    forecast.kv_bytes_per_position =
        (sixteenths[rank] * shape.kv_bytes_per_unit_position + kRangesPerDeal -
         1) /
        kRangesPerDeal;
    if (workers[rank].memory_bytes == 0) continue;
    forecast.kv_capacity_bytes =
        workers[rank].memory_bytes - forecast.weight_bytes;
    if (forecast.kv_capacity_bytes < 0) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "worker '", workers[rank].name, "' has ", workers[rank].memory_bytes,
          " bytes; with the projections of units whose contexts are cut it "
          "needs ",
          forecast.weight_bytes, " for weights"));
    }
    if (forecast.kv_bytes_per_position == 0) continue;
    const int64_t positions = forecast.kv_capacity_bytes /
                              forecast.kv_bytes_per_position / kRetentionBlock *
                              kRetentionBlock;
    plan->max_context_len = std::min(plan->max_context_len, positions);
  }
  return absl::OkStatus();
}

}  // namespace headwise
