// A calibration: tests that each measure the heads, scores that follow from
// them, and checks that show what the scores are worth.

#ifndef HEADWISE_SERVER_CALIBRATION_CALIBRATION_METHOD_H_
#define HEADWISE_SERVER_CALIBRATION_CALIBRATION_METHOD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/head_scores/head_scores.h"
#include "nlohmann/json.hpp"
#include "server/calibration/model_runner.h"

namespace headwise {

// What one test measured: plain numbers whose meaning the method knows, so that
// a finished test can be kept and need not be run again.
struct TestRecord {
  std::string id;              // "retrieval/512/0.25/3", "check/0"
  std::vector<double> values;  // finite
  int64_t rows = 0;            // that were run through the model
  // That one forward pass of the whole test for each head would have run.
  int64_t rows_without_reuse = 0;

  friend bool operator==(const TestRecord&, const TestRecord&) = default;
};

struct TestSpec {
  std::string id;          // unique in its method
  int64_t rows = 0;        // about as many will be run
  int64_t num_values = 0;  // of its record
};

// A number that a calibration reports beside its scores.
struct Figure {
  std::string name;
  double value = 0.0;
};

struct CalibrationReport {
  std::vector<Figure> figures;
  bool has_check = false;
  bool passed = false;  // of the check
  std::string verdict;  // of the check; one line for people
};

// Immutable after construction; Run... are pure but for the runner.
class CalibrationMethod {
 public:
  virtual ~CalibrationMethod() = default;

  // All that records depend on: equal manifests give equal records. A flat
  // object.
  virtual nlohmann::ordered_json manifest() const = 0;

  virtual std::vector<TestSpec> tests() const = 0;
  virtual absl::StatusOr<TestRecord> RunTest(int64_t index,
                                             ModelRunner& runner) const = 0;
  // `records`: one for each test, in their order. FailedPrecondition if they
  // say nothing about the heads.
  virtual absl::StatusOr<HeadScores> Score(
      absl::Span<const TestRecord> records) const = 0;

  // May be empty.
  virtual std::vector<TestSpec> checks() const = 0;
  virtual absl::StatusOr<TestRecord> RunCheck(int64_t index,
                                              const HeadScores& scores,
                                              ModelRunner& runner) const = 0;
  virtual CalibrationReport Report(
      const HeadScores& scores, absl::Span<const TestRecord> tests,
      absl::Span<const TestRecord> checks) const = 0;
};

// The manifest's part that every method has.
nlohmann::ordered_json ManifestOf(const char* method, const ModelFacts& facts,
                                  uint64_t seed);

// Scores without values: of the model's shape.
HeadScores EmptyScores(const char* method, const ModelFacts& facts);

}  // namespace headwise

#endif  // HEADWISE_SERVER_CALIBRATION_CALIBRATION_METHOD_H_
