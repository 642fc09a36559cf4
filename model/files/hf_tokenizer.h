// Hugging Face's tokenizer.json and tokenizer_config.json as TokenizerData.

#ifndef HEADWISE_MODEL_FILES_HF_TOKENIZER_H_
#define HEADWISE_MODEL_FILES_HF_TOKENIZER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tokenizer/tokenizer_data.h"
#include "nlohmann/json.hpp"

namespace headwise {

struct HfTokenizerInput {
  const nlohmann::json* tokenizer = nullptr;  // tokenizer.json, an object
  const nlohmann::json* config = nullptr;  // tokenizer_config.json or nullptr
  int64_t vocab_size = 0;                  // of the embedding, 1 .. kMaxVocab
  std::vector<int64_t> eos_ids;  // of config.json and generation_config.json
};

// Text is copied into TokenizerData::storage. Ids that no token has become
// "[PAD<id>]" of type kUnused, as in GGUF files. A byte-level BPE is taken if
// its pre-tokenizer is one of PreTokenizer's; a BPE with byte fallback is taken
// as SentencePiece if its merges are exactly those that a list of scores gives
// (see hf_sentence_piece.h). Everything else is Unimplemented and named.
absl::StatusOr<TokenizerData> ReadHfTokenizer(const HfTokenizerInput& input);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_HF_TOKENIZER_H_
