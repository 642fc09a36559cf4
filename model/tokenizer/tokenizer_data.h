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

struct TokenizerData {
  TokenizerKind kind = TokenizerKind::kBytePairEncoding;
  PreTokenizer pre_tokenizer = PreTokenizer::kGpt2;
  bool normalize_nfc = false;
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
  bool add_bos = false;              // encode(add_special) puts bos_id first
  bool add_space_prefix = false;     // kSentencePiece: "a" is encoded as " a"
  std::vector<std::string> storage;  // owns text that is not in a mapping
};

}  // namespace headwise

#endif  // HEADWISE_MODEL_TOKENIZER_TOKENIZER_DATA_H_
