// The flags of `headwise plan calibrate` as a request.

#ifndef HEADWISE_CLIENT_CLI_CALIBRATE_REQUEST_H_
#define HEADWISE_CLIENT_CLI_CALIBRATE_REQUEST_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "absl/status/statusor.h"
#include "headwise/v1/calibration.pb.h"
#include "model/head_scores/plan_from_scores.h"

namespace headwise {

// Absent: the server's default.
struct CalibrateFlags {
  std::string method;
  uint64_t seed = 0;
  // Retrieval, ablation.
  std::vector<int64_t> lengths;
  std::vector<double> depths;
  int64_t needles = 0;
  std::string haystack;  // a file
  std::optional<int64_t> check_tests;
  double check_fraction = 0;
  // Echo.
  int64_t block = 0;
  int64_t copies = 0;
  int64_t tests = 0;  // of ablation: prompts; of act: items
  int64_t words = 0;  // ablation
  std::string items;  // act; a file
  std::optional<float> sink_beta;
  float sink_threshold = 0;
  // The plan.
  std::optional<double> keep;
  std::optional<double> mask_top;
  std::string mask = "uniform";
  std::string kept = "full";
  std::string rest = "streaming";
  UnitPolicy unit = {.num_sinks = 64, .window = 256};
};

void AddCalibrateFlags(CLI::App& command, CalibrateFlags& flags);

// InvalidArgument names a flag that the method does not have; NotFound a file.
absl::StatusOr<v1::CalibrateRequest> CalibrateRequestOf(
    const CalibrateFlags& flags);

// The rule for scores that are there already. InvalidArgument names --kept or
// --rest where a field of its policy is out of range.
absl::StatusOr<PlanRule> PlanRuleOf(const CalibrateFlags& flags);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_CALIBRATE_REQUEST_H_
