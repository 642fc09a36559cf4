// Whether half of the units may stream: the worse half by score, against random
// halves and the better half.

#ifndef HEADWISE_SERVER_CALIBRATION_STREAM_CHECK_H_
#define HEADWISE_SERVER_CALIBRATION_STREAM_CHECK_H_

#include "model/head_plan/head_plan.h"
#include "server/calibration/calibration_method.h"
#include "server/calibration/plan_contrast.h"

namespace headwise {

// Seeds of the random draws.
inline constexpr int64_t kNumRandomHalves = 5;
inline constexpr int64_t kNumStreamVariants = 3 + kNumRandomHalves;

// Every unit full; the worse half as `rest`; the better half so;
// kNumRandomHalves random halves so.
Variants StreamVariants(const HeadScores& scores, const UnitPolicy& rest,
                        uint64_t seed);

// Of records of RunContrast with those variants; there is one or more. Passed:
// the worse half costs at most a tenth of the log-probability that random
// halves cost in the mean, and no variant costs more than the better half.
CalibrationReport ReportStreams(absl::Span<const TestRecord> records);

}  // namespace headwise

#endif  // HEADWISE_SERVER_CALIBRATION_STREAM_CHECK_H_
