// What a calibration reports to the messages of headwise.v1.

#ifndef HEADWISE_SERVER_FRONTENDS_CALIBRATION_WRITER_H_
#define HEADWISE_SERVER_FRONTENDS_CALIBRATION_WRITER_H_

#include <string>

#include "headwise/v1/calibration.pb.h"
#include "model/head_plan/head_plan.h"
#include "server/calibration/calibrator.h"

namespace headwise {

void WriteStarted(const std::string& manifest,
                  const CalibrationProgress& progress,
                  v1::CalibrationStarted* out);
// `scores` may be null.
void WriteTest(const TestRecord& record, const CalibrationProgress& progress,
               const HeadScores* scores, v1::CalibrationTest* out);
void WriteResult(const CalibrationOutcome& outcome, const HeadPlan& plan,
                 v1::CalibrationResult* out);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_CALIBRATION_WRITER_H_
