// The tokenizer of a tiny model: what a reader must find in its file.

#ifndef HEADWISE_MODEL_FILES_TEST_MODEL_TOKENIZER_H_
#define HEADWISE_MODEL_FILES_TEST_MODEL_TOKENIZER_H_

#include <string>
#include <utility>
#include <vector>

#include "model/files/test_model_options.h"
#include "model/tokenizer/tokenizer_data.h"

namespace headwise {

// Byte-level: <|endoftext|>, <|im_start|>, <|im_end|>, the 256 bytes in GPT-2's
// alphabet, then what some merges of English letters make.
// SentencePiece: <unk>, <s>, </s>, <|im_start|>, <|im_end|>, the 256 bytes,
// U+2581, a to z, then the same merges with scores -0, -1, ...
// Ids beyond these are [PAD<id>] of type kUnused.
struct TinyVocabulary {
  TokenizerKind kind = TokenizerKind::kBytePairEncoding;
  std::vector<std::string> tokens;                          // [vocab_size]
  std::vector<TokenType> types;                             // [vocab_size]
  std::vector<float> scores;                                // kSentencePiece
  std::vector<std::pair<std::string, std::string>> merges;  // best first
  int32_t bos_id = 0;
  int32_t eos_id = 0;
  int32_t unknown_id = 0;
};
TinyVocabulary MakeTinyVocabulary(const TinyModelOptions& options);

// ChatML, in Jinja.
extern const char kTinyChatTemplate[];

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_TEST_MODEL_TOKENIZER_H_
