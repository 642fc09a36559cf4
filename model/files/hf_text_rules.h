// The parts of a tokenizer.json that act on text before and after the merges.

#ifndef HEADWISE_MODEL_FILES_HF_TEXT_RULES_H_
#define HEADWISE_MODEL_FILES_HF_TEXT_RULES_H_

#include <string>

#include "absl/status/statusor.h"
#include "model/tokenizer/tokenizer_data.h"
#include "nlohmann/json.hpp"

namespace headwise {

// Of a byte-level BPE: which of our rules "pre_tokenizer" is, told by its steps
// and its regular expression. Unimplemented, naming them, for another.
absl::StatusOr<PreTokenizer> ReadBytePreTokenizer(
    const nlohmann::json& tokenizer);

// Of a byte-level BPE: whether "normalizer" is NFC; false if there is none.
absl::StatusOr<bool> ReadNfc(const nlohmann::json& tokenizer);

// Of a BPE with byte fallback: where a space is put in front of text.
// Unimplemented unless spaces become U+2581 and nothing else happens to text.
absl::StatusOr<SpacePrefix> ReadSpacePrefix(const nlohmann::json& tokenizer);

// The text of the token that "post_processor" puts in front of every text, or
// empty. Unimplemented if it adds anything else.
absl::StatusOr<std::string> ReadPrefixToken(const nlohmann::json& tokenizer);

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_HF_TEXT_RULES_H_
