// Which query heads copy facts from anywhere in a long text.
//
// Source: Wu et al., "Retrieval Head Mechanistically Explains Long-Context
// Factuality", arXiv 2404.15574, section 2, and its released code. Deviations:
//  - The answer is given token by token (teacher forcing), and the head's
//    position of greatest attention is looked at where each of its tokens is
//    predicted. A test counts if greedy generation, run beside it, gives more
//    than half of the answer's tokens, as the source has it.
//  - Each position of the needle counts once; the released code's count of
//    steps is kept beside it ("repeated").
//  - The needle is the answer's copy in the text, not the sentence around it.
//  - Random heads of the check are drawn from the layers of the best ones, with
//    five seeds; masks apply to the question and what follows it.
//
// With task kKeyValue the fact is a value of a JSON object instead, asked for
// by its key (key_value_prompt.h); all else is the same.

#ifndef HEADWISE_SERVER_CALIBRATION_RETRIEVAL_H_
#define HEADWISE_SERVER_CALIBRATION_RETRIEVAL_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/calibration/calibration_method.h"
#include "server/calibration/needle_prompt.h"

namespace headwise {

// The prompts: a sentence hidden in a text, or AttentionInfluence's proxy task.
enum class RetrievalTask { kNeedle, kKeyValue };

struct RetrievalOptions {
  RetrievalTask task = RetrievalTask::kNeedle;
  std::vector<int64_t> lengths = {512, 1024, 2048, 4096};  // tokens, 1 to 32
  std::vector<double> depths = {0, 0.25, 0.5, 0.75, 1};    // 0 to 1, 1 to 32
  int64_t num_needles = 4;  // or values: of each length and depth, 1 to 32
  int64_t num_check_tests = 20;  // held out, 0 to 256; 0: no check
  // Of query heads, that the check masks; (0, 0.5].
  double check_fraction = 0.05;
  std::string haystack;  // text; empty: drawn sentences
  uint64_t seed = 0;
};

// The tests of a calibration have at most this many lengths x depths x needles.
inline constexpr int64_t kMaxRetrievalTests = 4096;

// InvalidArgument names the option. `tokenizer` must outlive the method.
absl::StatusOr<std::unique_ptr<CalibrationMethod>> MakeRetrieval(
    const RetrievalOptions& options, const ModelFacts& facts,
    const Tokenizer& tokenizer);

// What a head's positions of greatest attention, one for each token of the
// answer, say of it.
struct HeadHits {
  double once = 0.0;      // needle's positions that were hit / their number
  double repeated = 0.0;  // hits / the needle's positions
};
// A hit: the position is the needle's and holds the predicted token.
// `positions`: [answer], of the rows that predict its tokens.
HeadHits CountHits(const NeedlePrompt& prompt,
                   absl::Span<const int32_t> positions);

}  // namespace headwise

#endif  // HEADWISE_SERVER_CALIBRATION_RETRIEVAL_H_
