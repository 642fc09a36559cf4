// Which query heads answer better when their attention sinks are reduced.
//
// Source: Yu et al., "Unveiling and Harnessing Hidden Attention Sinks" (ACT),
// arXiv 2406.15765, section 4, and its released code: one head is calibrated at
// a time, heads that beat the model as it is are kept and then calibrated
// together; layers 0, 1 and the last are left out. Deviations: the criterion is
// the loss of the label, not accuracy, so that tens of items suffice where the
// code takes about 900; and a check on items that were not used.

#ifndef HEADWISE_SERVER_CALIBRATION_ACT_FILTER_H_
#define HEADWISE_SERVER_CALIBRATION_ACT_FILTER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tokenizer/tokenizer.h"
#include "server/calibration/calibration_method.h"

namespace headwise {

struct ActOptions {
  int64_t num_items = 32;        // of the filter, 1 to 4,096
  int64_t num_check_items = 64;  // others, 0 to 4,096; 0: no check
  std::string items;             // JSONL (ParseChoiceItems); empty: drawn
  float sink_beta = 0.4f;        // [0, 1)
  float sink_threshold = 0.1f;   // (0, 1]
  uint64_t seed = 0;
};

// A head's score is what calibrating it takes from the loss of the labels: the
// mean over items less its standard error, or noise would be kept. Heads above
// 0 are kept. InvalidArgument names the option; FailedPrecondition:
// the model has fewer than four layers. `tokenizer` must outlive the method.
absl::StatusOr<std::unique_ptr<CalibrationMethod>> MakeActFilter(
    const ActOptions& options, const ModelFacts& facts,
    const Tokenizer& tokenizer);

// How often the mean of as many draws from `differences`, with repetition, is
// not above 0, in `num_draws` draws: the p-value of a paired bootstrap for "the
// mean is above 0". Requires a difference.
double BootstrapP(absl::Span<const double> differences, int64_t num_draws,
                  uint64_t seed);

}  // namespace headwise

#endif  // HEADWISE_SERVER_CALIBRATION_ACT_FILTER_H_
