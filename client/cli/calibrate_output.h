// What `headwise plan calibrate` prints and writes.

#ifndef HEADWISE_CLIENT_CLI_CALIBRATE_OUTPUT_H_
#define HEADWISE_CLIENT_CLI_CALIBRATE_OUTPUT_H_

#include <string>

#include "absl/status/status.h"
#include "client/cli/head_heat_map.h"
#include "headwise/v1/calibration.pb.h"
#include "model/head_scores/head_scores.h"
#include "nlohmann/json.hpp"

namespace headwise {

// The message as plain values, not checked.
HeadScores ScoresOf(const v1::HeadScores& message);

// Query heads if the scores have them, else KV heads.
HeadHeatMap HeatMapOf(const HeadScores& scores);

// Figures, check, cost and the ten best heads. `seconds` is this run's.
nlohmann::ordered_json CalibrationToJson(const v1::CalibrationResult& result,
                                         double seconds);
std::string RenderCalibration(const v1::CalibrationResult& result,
                              double seconds);

// Unavailable names the path.
absl::Status WriteTextFile(const std::string& text, const std::string& path);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_CALIBRATE_OUTPUT_H_
