// Requests of headwise.v1.Calibration to plain structs: every field is checked
// here or by what takes it, and protobuf stops here.

#ifndef HEADWISE_SERVER_FRONTENDS_CALIBRATION_PARSER_H_
#define HEADWISE_SERVER_FRONTENDS_CALIBRATION_PARSER_H_

#include <memory>
#include <variant>

#include "absl/status/statusor.h"
#include "headwise/v1/calibration.pb.h"
#include "model/head_scores/plan_from_scores.h"
#include "model/tokenizer/tokenizer.h"
#include "server/calibration/ablation.h"
#include "server/calibration/act_filter.h"
#include "server/calibration/calibrator.h"
#include "server/calibration/echo.h"
#include "server/calibration/retrieval.h"

namespace headwise {

inline constexpr int kMaxFinishedTests = 8192;
inline constexpr size_t kMaxTestIdBytes = 256;

struct CalibrationCall {
  std::variant<RetrievalOptions, EchoOptions, AblationOptions, ActOptions>
      options;
  PlanRule rule;
  FinishedTests finished;
};

// InvalidArgument: no method, a list that is too long, or a rule that does not
// go with the method. OutOfRange: a text above kMaxTextBytes. The options
// themselves are checked by MakeMethod.
absl::StatusOr<CalibrationCall> ParseCalibrateRequest(
    const v1::CalibrateRequest& request);

// As Make... of the method; default lengths beyond the context are left out.
// `tokenizer` must outlive the method.
absl::StatusOr<std::unique_ptr<CalibrationMethod>> MakeMethod(
    const CalibrationCall& call, const ModelFacts& facts,
    const Tokenizer& tokenizer);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_CALIBRATION_PARSER_H_
