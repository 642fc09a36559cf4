// What both kinds of tokenizer share: special tokens and the books about ids.

#ifndef HEADWISE_MODEL_TOKENIZER_TOKENIZER_BASE_H_
#define HEADWISE_MODEL_TOKENIZER_TOKENIZER_BASE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/tokenizer/pair_merger.h"
#include "model/tokenizer/special_token_matcher.h"
#include "model/tokenizer/tokenizer.h"

namespace headwise {

// InvalidArgument if the lists differ in length, an id is out of range, a score
// is not a number, or the special tokens are too long together. What only one
// kind needs is checked by that kind.
absl::Status ValidateTokenizerData(const TokenizerData& data);

class TokenizerBase : public Tokenizer {
 public:
  std::vector<int32_t> Encode(absl::string_view text,
                              const EncodeOptions& options) const final;
  bool IsEndOfGeneration(int32_t id) const final;
  bool IsSpecial(int32_t id) const final;
  int64_t vocab_size() const final;
  int32_t bos_id() const final { return data_.bos_id; }
  int32_t eos_id() const final { return data_.eos_id; }

  // As Encode; adds the elementary steps taken (characters read, bytes matched,
  // merges looked up, heap operations) to `num_steps`. Tests bound the work
  // with it, because a clock is not to be trusted.
  std::vector<int32_t> EncodeCounted(absl::string_view text,
                                     const EncodeOptions& options,
                                     int64_t* num_steps) const;

 protected:
  // What stands before a section of text.
  enum class Before { kNothing, kControl, kUserDefined };

  // What one call of Encode carries through the text.
  struct EncodeState {
    std::vector<int32_t> ids;
    PairMerger merger;
    std::string buffer;
    int64_t num_steps = 0;
  };

  // Requires valid data.
  explicit TokenizerBase(const TokenizerData& data);

  // Appends the ids of text without special tokens. Empty text is given only
  // between `before`, which is no user-defined token, and a user-defined one.
  virtual void EncodePlain(absl::string_view text, Before before,
                           EncodeState* state) const = 0;

  bool IsInVocabulary(int32_t id) const { return id >= 0 && id < vocab_size(); }
  const TokenizerData& data() const { return data_; }

 private:
  const TokenizerData& data_;
  const SpecialTokenMatcher special_tokens_;
};

}  // namespace headwise

#endif  // HEADWISE_MODEL_TOKENIZER_TOKENIZER_BASE_H_
