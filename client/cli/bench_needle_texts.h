// What `headwise bench needle` asks: a fact in a long text, at every depth.

#ifndef HEADWISE_CLIENT_CLI_BENCH_NEEDLE_TEXTS_H_
#define HEADWISE_CLIENT_CLI_BENCH_NEEDLE_TEXTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/tokenizer/tokenizer.h"

namespace headwise {

// Generated tokens that must hold the answer, and those of the one test of a
// context whose times are taken; a prompt leaves room for the latter.
inline constexpr int64_t kAnswerTokens = 8;
inline constexpr int64_t kTimedTokens = 32;

enum class NeedleKind { kPassKey, kWord };

struct NeedleTaskOptions {
  NeedleKind kind = NeedleKind::kPassKey;
  std::string haystack;     // a text, cycled; empty: kNeedleFiller
  int64_t context_len = 0;  // positions of prompt and kTimedTokens
  int64_t num_depths = 0;   // >= 1: from 0 to 1 evenly; of one, 0.5
  int64_t num_seeds = 0;    // >= 1, tests of each depth
};

// The filler of the passkey test of Landmark Attention (Mohtashami and Jaggi,
// arXiv 2305.16300, section 4.2).
extern const char kNeedleFiller[];

struct NeedleTest {
  int64_t depth_index = 0;
  int64_t seed = 0;
  std::vector<int32_t> needle;
  std::string answer;  // "12345"
};

// The tests of one context share text and question; by depth, then by seed.
struct NeedleTask {
  std::vector<int32_t> text;      // bos, if the tokenizer has one, in front
  std::vector<int32_t> question;  // up to where the answer begins
  std::vector<double> depths;     // ascending
  std::vector<int64_t> cuts;      // [depths] where in `text` needles stand
  std::vector<NeedleTest> tests;

  // text[cut..], needle in front, question behind: what follows the shared
  // text[..cut).
  std::vector<int32_t> Rest(const NeedleTest& test) const;
  int64_t PromptLen(const NeedleTest& test) const {
    return static_cast<int64_t>(text.size() + test.needle.size() +
                                question.size());
  }
  int64_t MaxPromptLen() const;
};

// A needle stands before the first sentence at or after its depth; a prompt is
// shorter than it may be by less than a sentence. A pure function of
// its arguments. InvalidArgument names a context that is too short, or a
// haystack without a sentence.
absl::StatusOr<NeedleTask> MakeNeedleTask(const Tokenizer& tokenizer,
                                          const NeedleTaskOptions& options);

// What was answered, up to the end of generation and at most kAnswerTokens.
std::string AnswerText(const Tokenizer& tokenizer,
                       absl::Span<const int32_t> generated);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_BENCH_NEEDLE_TEXTS_H_
