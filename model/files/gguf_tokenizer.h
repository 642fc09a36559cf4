// GGUF's `tokenizer.ggml.*` keys as TokenizerData.

#ifndef HEADWISE_MODEL_FILES_GGUF_TOKENIZER_H_
#define HEADWISE_MODEL_FILES_GGUF_TOKENIZER_H_

#include "absl/status/statusor.h"
#include "model/files/gguf_container.h"
#include "model/tokenizer/tokenizer_data.h"

namespace headwise {

// Views `gguf`'s bytes; no text is copied. Ids and array sizes agree with the
// number of tokens. Unimplemented names an unknown model or pre-tokenizer.
absl::StatusOr<TokenizerData> ReadGgufTokenizer(const GgufContainer& gguf);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_GGUF_TOKENIZER_H_
