// The prompts that gates are trained on.

#ifndef HEADWISE_LAB_DUO_GATES_GATE_SAMPLES_H_
#define HEADWISE_LAB_DUO_GATES_GATE_SAMPLES_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "lab/duo_gates/gate_options.h"
#include "server/calibration/needle_prompt.h"

namespace headwise {

struct GateSample {
  std::vector<int32_t> tokens;
  // Rows from here on count: question and answer, all of their tokens.
  int64_t first_labelled = 0;

  int64_t num_labelled() const {
    return static_cast<int64_t>(tokens.size()) - first_labelled;
  }
};

// The sample of a step, a function of the seed and `step`. Its length is drawn
// from 50 values that divide [shortest, length] evenly. InvalidArgument if
// needles and question do not fit.
absl::StatusOr<GateSample> MakeGateSample(const Haystack& haystack,
                                          const GateOptions& options,
                                          int64_t step);

}  // namespace headwise

#endif  // HEADWISE_LAB_DUO_GATES_GATE_SAMPLES_H_
