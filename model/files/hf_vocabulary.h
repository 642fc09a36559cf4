// The tokens and merges of a tokenizer.json.

#ifndef HEADWISE_MODEL_FILES_HF_VOCABULARY_H_
#define HEADWISE_MODEL_FILES_HF_VOCABULARY_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "model/tokenizer/tokenizer_data.h"
#include "nlohmann/json.hpp"

namespace headwise {

struct HfVocabulary {
  std::vector<std::string> tokens;  // [vocab_size]; holes are "[PAD<id>]"
  std::vector<TokenType> types;     // [vocab_size]
  std::vector<std::pair<std::string, std::string>> merges;  // best first
  absl::flat_hash_map<std::string, int32_t> id_of_token;    // without holes
};

// Reads model.vocab, model.merges (as "left right" or ["left", "right"]) and
// added_tokens. InvalidArgument for an id outside [0, vocab_size), one that two
// tokens share, a token that is too long, or a merge of unknown tokens;
// Unimplemented, naming it, for a flag of an added token.
absl::StatusOr<HfVocabulary> ReadHfVocabulary(const nlohmann::json& tokenizer,
                                              int64_t vocab_size);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_HF_VOCABULARY_H_
