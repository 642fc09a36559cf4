// Text to tokens and back.

#ifndef HEADWISE_MODEL_TOKENIZER_TOKENIZER_H_
#define HEADWISE_MODEL_TOKENIZER_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/tokenizer/tokenizer_data.h"

namespace headwise {

// Immutable after Create, hence safe to share between threads. Encoding takes
// time linear in the text (times the log of the longest word's length),
// whatever the text is; invalid UTF-8 is encoded byte by byte, never refused.
class Tokenizer {
 public:
  struct EncodeOptions {
    bool add_special = false;   // put bos first where the model wants it
    bool parse_special = true;  // "<|im_end|>" in the text is that token
  };

  // `data` must outlive the tokenizer. InvalidArgument if ids are out of range
  // or a merge names a token that is not in the vocabulary.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Create(
      const TokenizerData& data);
  virtual ~Tokenizer() = default;

  virtual std::vector<int32_t> Encode(absl::string_view text,
                                      const EncodeOptions& options) const = 0;
  // The bytes that `id` stands for; special tokens give their text. Empty for
  // an id outside the vocabulary. The bytes of one token need not be whole
  // UTF-8 characters.
  virtual std::string TokenBytes(int32_t id) const = 0;
  // The concatenation of TokenBytes, without a space where space_prefix may
  // have put it; control tokens are left out if `skip_special`.
  virtual std::string Decode(absl::Span<const int32_t> ids,
                             bool skip_special) const = 0;
  virtual bool IsEndOfGeneration(int32_t id) const = 0;
  virtual bool IsSpecial(int32_t id) const = 0;
  virtual int64_t vocab_size() const = 0;
  virtual int32_t bos_id() const = 0;  // -1: none
  virtual int32_t eos_id() const = 0;  // -1: none
};

}  // namespace headwise

#endif  // HEADWISE_MODEL_TOKENIZER_TOKENIZER_H_
