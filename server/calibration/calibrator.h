// Runs a calibration from its first open test to its report.

#ifndef HEADWISE_SERVER_CALIBRATION_CALIBRATOR_H_
#define HEADWISE_SERVER_CALIBRATION_CALIBRATOR_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/calibration/calibration_method.h"

namespace headwise {

struct CalibrationProgress {
  int64_t tests_done = 0;  // checks included, resumed ones too
  int64_t tests_total = 0;
  double fraction = 0.0;     // of the rows of all tests
  absl::Duration elapsed;    // of this run
  absl::Duration remaining;  // as the rows so far have gone
};

struct CalibrationOutcome {
  HeadScores scores;
  CalibrationReport report;
  // Of all tests and checks, resumed ones included.
  int64_t rows = 0;
  int64_t rows_without_reuse = 0;
};

// What an earlier run of the same manifest has finished.
struct FinishedTests {
  std::string manifest;  // its JSON; empty: there was no earlier run
  std::vector<TestRecord> records;
};

struct CalibrationEvents {
  // Before the first test: the manifest of this run, as JSON.
  std::function<void(const std::string& manifest,
                     const CalibrationProgress& progress)>
      on_started;
  // `record` has just been finished; resumed ones are not reported. `scores`:
  // of the tests so far, now and then; else null.
  std::function<void(const TestRecord& record,
                     const CalibrationProgress& progress,
                     const HeadScores* scores)>
      on_test;
};

// FailedPrecondition if `finished` belongs to another manifest: names what
// differs. InvalidArgument if a finished record is not one of the method's
// tests, comes twice or has other values than it must have. Else the method's
// errors and the runner's.
absl::StatusOr<CalibrationOutcome> Calibrate(const CalibrationMethod& method,
                                             const FinishedTests& finished,
                                             const CalibrationEvents& events,
                                             const Clock& clock,
                                             ModelRunner& runner);

}  // namespace headwise

#endif  // HEADWISE_SERVER_CALIBRATION_CALIBRATOR_H_
