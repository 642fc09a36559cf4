// Whether masking the best heads breaks the needle task and masking as many
// others does not.

#ifndef HEADWISE_SERVER_CALIBRATION_MASK_CHECK_H_
#define HEADWISE_SERVER_CALIBRATION_MASK_CHECK_H_

#include "server/calibration/calibration_method.h"
#include "server/calibration/draws.h"
#include "server/calibration/plan_contrast.h"

namespace headwise {

// Seeds of the random draws.
inline constexpr int64_t kNumRandomMasks = 5;
inline constexpr int64_t kNumMaskVariants = 2 + kNumRandomMasks;

// `count` query heads, none of them among the `count` best, each from the layer
// of one of the best (Wu et al., arXiv 2404.15574, draw outside the best 10 %
// of all layers): outside the best 2 * count where that layer has such heads
// left, else outside the best; from any layer if it has none at all.
std::vector<int64_t> LayerMatchedHeads(const HeadScores& scores, int64_t count,
                                       Draws& draws);

// Nothing masked; the best `count` query heads; kNumRandomMasks draws of
// LayerMatchedHeads. Masked: uniform attention over what the head sees.
Variants MaskVariants(const HeadScores& scores, int64_t count, uint64_t seed);

// Of records of RunContrast with those variants; there is one or more. Passed:
// masking the best costs log-probability of the answer, and accuracy, and of
// both at least 3 times what masking random heads costs in the mean.
CalibrationReport ReportMasks(absl::Span<const TestRecord> records,
                              int64_t count);

}  // namespace headwise

#endif  // HEADWISE_SERVER_CALIBRATION_MASK_CHECK_H_
