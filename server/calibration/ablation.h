// How much the final state changes when one KV head sees sinks and a window
// only.
//
// Source: the distillation loss of Xiao et al., "DuoAttention", arXiv
// 2410.10819, section 3.2, without its gates: at gates of 1 the loss and its
// gradient are 0, so each unit is cut by itself instead, and
//   score(unit) = mean over labelled rows and channels of
//                 (state, every unit full - state, this unit streaming)^2.
// Labelled: the rows of question and answer. Deviation: the text before them is
// run once with every unit full and held; the unit streams in the labelled rows
// alone, so that changes which its streaming would have made to keys and values
// of earlier positions are left out.

#ifndef HEADWISE_SERVER_CALIBRATION_ABLATION_H_
#define HEADWISE_SERVER_CALIBRATION_ABLATION_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/tokenizer/tokenizer.h"
#include "server/calibration/calibration_method.h"

namespace headwise {

struct AblationOptions {
  int64_t length = 2048;        // tokens of a prompt
  int64_t num_prompts = 8;      // 1 to 256
  int64_t num_needles = 4;      // of a prompt, 1 to 16
  int64_t num_words = 5;        // of a needle, 1 to 32
  int64_t num_sinks = 64;       // positions, 0 to 4,096
  int64_t window = 256;         // positions, 1 to 2^20
  int64_t num_check_tests = 8;  // held-out prompts, 0 to 256; 0: no check
  std::string haystack;         // text; empty: drawn sentences
  uint64_t seed = 0;
};

// InvalidArgument names the option. `tokenizer` must outlive the method.
absl::StatusOr<std::unique_ptr<CalibrationMethod>> MakeAblation(
    const AblationOptions& options, const ModelFacts& facts,
    const Tokenizer& tokenizer);

}  // namespace headwise

#endif  // HEADWISE_SERVER_CALIBRATION_ABLATION_H_
