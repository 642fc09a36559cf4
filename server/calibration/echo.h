// Which heads look back by one period of a text that repeats itself.
//
// Source: Tang et al., "RazorAttention", arXiv 2407.15891, section 3.2, and the
// released code for RoPE models: random tokens, a block of them repeated. For a
// query in a later copy of the block of B tokens, over m >= 1,
//   echo      the probability at distance m * B: the same token before;
//   induction that at distance m * B - 1: the token that followed it.
// Deviations: bos, if the model has one, is not part of the periods; several
// draws of tokens are averaged.

#ifndef HEADWISE_SERVER_CALIBRATION_ECHO_H_
#define HEADWISE_SERVER_CALIBRATION_ECHO_H_

#include <memory>

#include "absl/status/statusor.h"
#include "model/tokenizer/tokenizer.h"
#include "server/calibration/calibration_method.h"

namespace headwise {

struct EchoOptions {
  int64_t block = 512;    // tokens, 16 or more
  int64_t copies = 4;     // 2 to 64
  int64_t num_tests = 3;  // draws of tokens, 1 to 64
  uint64_t seed = 0;
};

// The scores that plans are made from: a query head's induction score; and
// where its KV head is among the best 1 % by echo, 1 + its echo score, so that
// a plan that keeps 15 % keeps the best 14 % by induction and these, as
// published. Both scores are in `details`. InvalidArgument names the option.
// `tokenizer` must outlive the method.
absl::StatusOr<std::unique_ptr<CalibrationMethod>> MakeEcho(
    const EchoOptions& options, const ModelFacts& facts,
    const Tokenizer& tokenizer);

}  // namespace headwise

#endif  // HEADWISE_SERVER_CALIBRATION_ECHO_H_
