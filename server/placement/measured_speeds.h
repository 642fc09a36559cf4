// How fast workers turned out to be, and whether that is worth another
// placement.

#ifndef HEADWISE_SERVER_PLACEMENT_MEASURED_SPEEDS_H_
#define HEADWISE_SERVER_PLACEMENT_MEASURED_SPEEDS_H_

#include <vector>

#include "server/placement/planner.h"

namespace headwise {

// Nobody is taken for slower than this share of the fastest: so every worker
// keeps some pieces, and what it gains when it recovers can be measured.
inline constexpr double kLeastSpeedShare = 1.0 / 16;

// A placement by measured speeds must do a token's own work in so much less
// time than the present one, or nothing is moved: measurements vary, and a move
// costs a prefill of all contexts.
inline constexpr double kLeastGain = 0.25;

// Speeds by rank, in proportion to the work that `plan` gave each and the
// seconds that it computed; their mean is that of `workers`. Empty if a rank
// had no work or no time.
std::vector<double> MeasuredSpeeds(const PlacementPlan& plan,
                                   const std::vector<WorkerCapacity>& workers,
                                   const std::vector<double>& seconds);

// What a placement by `speeds` saves of the present one's DecodeMs, as a share
// of it: below 0 if it would be slower, 0 if none can be made. `workers` are
// those of `plan`, and `speeds` what they are now.
double GainOfMoving(const ModelShape& shape, const PlacementPlan& plan,
                    std::vector<WorkerCapacity> workers,
                    const std::vector<double>& speeds, int64_t context_len);

}  // namespace headwise

#endif  // HEADWISE_SERVER_PLACEMENT_MEASURED_SPEEDS_H_
