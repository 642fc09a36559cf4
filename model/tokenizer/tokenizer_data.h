// What a model file says about its tokenizer.

#ifndef HEADWISE_MODEL_TOKENIZER_TOKENIZER_DATA_H_
#define HEADWISE_MODEL_TOKENIZER_TOKENIZER_DATA_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace headwise {

enum class TokenizerKind {
  kBytePairEncoding,  // byte-level BPE ("gpt2" in GGUF)
  kSentencePiece,     // SentencePiece BPE with scores ("llama" in GGUF)
};

// Which rule cuts text into words before byte pairs are merged.
enum class PreTokenizer { kGpt2, kSmollm, kLlamaBpe, kQwen2 };

// GGUF's tokenizer.ggml.token_type.
enum class TokenType : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

// Where a SentencePiece-like tokenizer puts a space of its own. A section is
// the text between two special tokens. ("Prepend", "Metaspace": steps of a
// tokenizer.json.)
enum class SpacePrefix {
  kNone,
  // Sections that nothing or a control token precedes, whatever they begin
  // with: SentencePiece's add_dummy_prefix, Prepend.
  kEverySection,
  // All sections that do not begin with a space: Metaspace, "always".
  kEverySectionWithoutOne,
  // The text itself if it begins neither with a space nor with a special token:
  // Metaspace, "first".
  kFirstWithoutOne,
};

struct TokenizerData {
  TokenizerKind kind = TokenizerKind::kBytePairEncoding;
  PreTokenizer pre_tokenizer = PreTokenizer::kGpt2;
  bool normalize_nfc = false;
  // kBytePairEncoding: a word that is a token is that token, without merging.
  bool whole_words_first = false;
  // One per id. For byte-level BPE in GPT-2's printable byte alphabet, as in
  // the file. Views into the model's mapping or into `storage`.
  std::vector<absl::string_view> tokens;
  std::vector<TokenType> types;  // same size as tokens
  std::vector<float> scores;     // kSentencePiece: same size; else empty
  // kBytePairEncoding: "left right", best first.
  std::vector<absl::string_view> merges;
  int32_t bos_id = -1;  // -1: none
  int32_t eos_id = -1;
  int32_t unknown_id = -1;
  // Ids that end a generation besides eos_id (end of turn and the like).
  std::vector<int32_t> end_of_turn_ids;
  bool add_bos = false;  // encode(add_special) puts bos_id first
  SpacePrefix space_prefix = SpacePrefix::kNone;  // kSentencePiece
  std::vector<std::string> storage;  // owns text that is not in a mapping
};

}  // namespace headwise

#endif  // HEADWISE_MODEL_TOKENIZER_TOKENIZER_DATA_H_
