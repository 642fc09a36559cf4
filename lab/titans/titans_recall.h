// Recall far beyond what a model was trained at, by streaming.

#ifndef HEADWISE_LAB_TITANS_TITANS_RECALL_H_
#define HEADWISE_LAB_TITANS_TITANS_RECALL_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "lab/titans/titans_weights.h"
#include "nlohmann/json.hpp"

namespace headwise {

struct RecallTest {
  int64_t context = 16384;  // tokens before the questions, a multiple of 512
  int64_t num_pairs = 8;    // at most 64
  int64_t num_sequences = 4;
  uint64_t seed = 0;
};

struct RecallResult {
  int64_t context = 0;
  int64_t num_asked = 0;
  int64_t num_recalled = 0;  // the value was first of the whole vocabulary
  // Parts of filler tokens for which some head of some layer writes, or
  // forgets: its gate is not exactly 0.
  double theta_share = 0.0;
  double alpha_share = 0.0;
  double seconds = 0.0;
};

// InvalidArgument names the option, its value and the limit.
absl::Status CheckRecallTest(const RecallTest& test);

// The test is one that CheckRecallTest accepts; chunks and mac's window divide
// 512. All pairs stand in the first 512 tokens, evenly; the rest is filler,
// passages of `text` (bytes). After it each key is asked for by itself.
RecallResult MeasureRecall(const TitansWeights& weights,
                           const std::string& text, const RecallTest& test);

nlohmann::ordered_json RecallToJson(const RecallResult& result);

}  // namespace headwise

#endif  // HEADWISE_LAB_TITANS_TITANS_RECALL_H_
