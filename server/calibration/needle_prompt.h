// Prompts with facts hidden in a long text, and questions about them.

#ifndef HEADWISE_SERVER_CALIBRATION_NEEDLE_PROMPT_H_
#define HEADWISE_SERVER_CALIBRATION_NEEDLE_PROMPT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/tokenizer/tokenizer.h"
#include "server/calibration/draws.h"

namespace headwise {

// The shortest prompt that is worth a test.
inline constexpr int64_t kMinPromptLen = 128;
inline constexpr int64_t kNumNeedleKinds = 2;

struct NeedlePrompt {
  std::vector<int32_t> prefix;    // the text with its needles
  std::vector<int32_t> question;  // up to where the answer begins
  std::vector<int32_t> answer;
  // Positions in the prefix of one needle's copy of the answer, in its order:
  // prefix[needle[i]] == answer[i]. Empty of several needles.
  std::vector<int64_t> needle;

  int64_t num_tokens() const {
    return static_cast<int64_t>(prefix.size() + question.size() +
                                answer.size());
  }
  // question, answer.
  std::vector<int32_t> Tail() const;
};

// What needles are hidden in: sentences, from a text or of our own making.
// Immutable. The tokenizer must outlive it.
class Haystack {
 public:
  // An empty text: sentences are drawn. InvalidArgument if a text has none.
  static absl::StatusOr<Haystack> Create(const Tokenizer& tokenizer,
                                         absl::string_view text);

  // As many sentences, as tokens, as fit into `num_tokens`. Those of a text
  // follow each other from a place that is drawn; it begins again where it
  // ends.
  std::vector<std::vector<int32_t>> Take(int64_t num_tokens,
                                         Draws& draws) const;

  const Tokenizer& tokenizer() const { return *tokenizer_; }

 private:
  Haystack(const Tokenizer& tokenizer, std::vector<std::string> sentences)
      : tokenizer_(&tokenizer), sentences_(std::move(sentences)) {}

  const Tokenizer* tokenizer_;
  std::vector<std::string> sentences_;  // empty: drawn
};

// One needle: a pass key of six digits, or four words of the spelling alphabet,
// by `kind` mod kNumNeedleKinds. `length`: tokens of the whole prompt, which is
// shorter by less than a sentence, and longer only if all but the sentences is.
// `depth`, 0 to 1: the needle stands before the first sentence at or after this
// part of the text.
NeedlePrompt MakeNeedlePrompt(const Haystack& haystack, int64_t length,
                              double depth, int64_t kind, Draws& draws);

// `num_needles` pass keys of `num_words` words each at depths that are drawn;
// all are asked for, in their order. As DuoAttention's training data (Xiao et
// al., arXiv 2410.10819, section 3.2), but shorter.
NeedlePrompt MakePassKeysPrompt(const Haystack& haystack, int64_t length,
                                int64_t num_needles, int64_t num_words,
                                Draws& draws);

// InvalidArgument if a prompt that was made for `length` tokens is longer.
absl::Status CheckRoom(const NeedlePrompt& prompt, int64_t length);

}  // namespace headwise

#endif  // HEADWISE_SERVER_CALIBRATION_NEEDLE_PROMPT_H_
