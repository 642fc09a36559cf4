// Contexts that are cut over ranks, for units whose KV outgrows one of them.

#ifndef HEADWISE_SERVER_PLACEMENT_CONTEXT_CUT_H_
#define HEADWISE_SERVER_PLACEMENT_CONTEXT_CUT_H_

#include <vector>

#include "absl/status/status.h"
#include "server/placement/planner.h"

namespace headwise {

// A deal of this many ranges is repeated, so that shares of a long context are
// right to 1 / 16.
inline constexpr int kRangesPerDeal = 16;

// kRangesPerDeal ranks, each as often as its speed asks and spread as evenly as
// that allows; `ranks` are indices of `speeds`. Every rank comes at least once
// if there are no more than kRangesPerDeal.
std::vector<int> DealRanges(const std::vector<int>& ranks,
                            const std::vector<double>& speeds);

// Cuts the context of every unit of `plan` over `ranks_per_unit` ranks, its own
// and those that follow, in proportion to their speed, and brings the forecasts
// up to date: a rank with ranges of another's unit has that one's query, key
// and value weights too. 1: nothing is cut. InvalidArgument below 1 or above
// the number of workers.
absl::Status CutContexts(const ModelShape& shape,
                         const std::vector<WorkerCapacity>& workers,
                         int ranks_per_unit, PlacementPlan* plan);

}  // namespace headwise

#endif  // HEADWISE_SERVER_PLACEMENT_CONTEXT_CUT_H_
