// Where landmark tokens stand in a sequence.

#ifndef HEADWISE_MODEL_HEAD_PLAN_LANDMARKS_H_
#define HEADWISE_MODEL_HEAD_PLAN_LANDMARKS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "model/head_plan/head_plan.h"

namespace headwise {

// A landmark stands at the last position of every so many: the chunk_len of the
// plan's kLandmark units, which is one. 0: the plan has none.
int64_t LandmarkPeriod(const HeadPlan& plan);

// Nobody puts landmarks in: callers do. InvalidArgument, with the position, if
// among `prompt`, which stands from position `first` on, another token is where
// a landmark belongs, or if `num_new` generated ones would reach such a place.
// OK for a plan without landmark_token. O(units + prompt / period).
absl::Status CheckLandmarks(const HeadPlan& plan, int64_t first,
                            absl::Span<const int32_t> prompt, int64_t num_new);

}  // namespace headwise

#endif  // HEADWISE_MODEL_HEAD_PLAN_LANDMARKS_H_
