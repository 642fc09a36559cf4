#include "model/files/gguf_tokenizer.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/files/byte_tokens.h"
#include "model/files/end_of_turn.h"
#include "model/files/gguf_values.h"
#include "model/files/model_limits.h"
#include "model/files/quoted.h"

namespace headwise {

namespace {

absl::Status ReadPreTokenizer(const GgufContainer& gguf, TokenizerData& data) {
  HEADWISE_ASSIGN_OR_RETURN(const auto pre,
                            FindText(gguf, "tokenizer.ggml.pre"));
  if (pre == "smollm") {
    data.pre_tokenizer = PreTokenizer::kSmollm;
  } else if (pre == "llama-bpe") {
    data.pre_tokenizer = PreTokenizer::kLlamaBpe;
    data.whole_words_first = true;  // no key either; Llama 3's own has it
  } else if (pre == "qwen2") {
    data.pre_tokenizer = PreTokenizer::kQwen2;
    data.normalize_nfc = true;  // the file has no key for it; Qwen's own has it
  } else if (pre == "gpt-2") {
    data.pre_tokenizer = PreTokenizer::kGpt2;
  } else {
    return absl::UnimplementedError(absl::StrCat(
        "pre-tokenizer ", pre ? Quoted(*pre) : "(key absent)",
        " (GGUF key \"tokenizer.ggml.pre\"); we have smollm, llama-bpe, qwen2, "
        "gpt-2"));
  }
  return absl::OkStatus();
}

absl::Status CheckSize(absl::string_view key, size_t size, size_t num_tokens) {
  if (size == num_tokens) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("GGUF key ", Quoted(key), " has ", size, " elements for ",
                   num_tokens, " tokens"));
}

absl::Status ReadTypes(const GgufContainer& gguf, TokenizerData& data) {
  constexpr absl::string_view kKey = "tokenizer.ggml.token_type";
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<int32_t> types,
                            Int32Array(gguf, kKey, kMaxVocab));
  if (gguf.Find(kKey) == nullptr) {
    data.types.assign(data.tokens.size(), TokenType::kNormal);
    return absl::OkStatus();
  }
  HEADWISE_RETURN_IF_ERROR(CheckSize(kKey, types.size(), data.tokens.size()));
  data.types.reserve(types.size());
  for (size_t id = 0; id < types.size(); ++id) {
    if (types[id] < 1 || types[id] > static_cast<int32_t>(TokenType::kByte)) {
      return absl::InvalidArgumentError(
          absl::StrCat("GGUF key ", Quoted(kKey), ": type ", types[id],
                       " of token ", id, " is outside the limits 1 to 6"));
    }
    const auto type = static_cast<TokenType>(types[id]);
    if (type == TokenType::kByte && !ByteOfToken(data.tokens[id])) {
      return absl::InvalidArgumentError(
          absl::StrCat("byte token ", id, " is ", Quoted(data.tokens[id]),
                       "; the limits are \"<0x00>\" to \"<0xFF>\""));
    }
    data.types.push_back(type);
  }
  return absl::OkStatus();
}

absl::Status ReadScores(const GgufContainer& gguf, TokenizerData& data) {
  constexpr absl::string_view kKey = "tokenizer.ggml.scores";
  HEADWISE_ASSIGN_OR_RETURN(data.scores, Float32Array(gguf, kKey, kMaxVocab));
  HEADWISE_RETURN_IF_ERROR(
      CheckSize(kKey, data.scores.size(), data.tokens.size()));
  for (size_t id = 0; id < data.scores.size(); ++id) {
    if (std::isnan(data.scores[id])) {
      return absl::InvalidArgumentError(absl::StrCat("GGUF key ", Quoted(kKey),
                                                     ": score of token ", id,
                                                     " is not a number"));
    }
  }
  return absl::OkStatus();
}

// -1 if the key is absent.
absl::StatusOr<int32_t> ReadId(const GgufContainer& gguf, absl::string_view key,
                               size_t num_tokens) {
  HEADWISE_ASSIGN_OR_RETURN(const std::optional<int64_t> id,
                            FindInt(gguf, key));
  // Some converters write -1, also as uint32, for "none".
  if (!id || *id == -1 || *id == 0xffffffff) return -1;
  if (*id < 0 || *id >= static_cast<int64_t>(num_tokens)) {
    return absl::InvalidArgumentError(
        absl::StrCat("GGUF key ", Quoted(key), " is ", *id,
                     ", outside the limits 0 to ", num_tokens - 1));
  }
  return static_cast<int32_t>(*id);
}

absl::Status ReadSpecialIds(const GgufContainer& gguf, TokenizerData& data) {
  const size_t num_tokens = data.tokens.size();
  HEADWISE_ASSIGN_OR_RETURN(
      data.bos_id, ReadId(gguf, "tokenizer.ggml.bos_token_id", num_tokens));
  HEADWISE_ASSIGN_OR_RETURN(
      data.eos_id, ReadId(gguf, "tokenizer.ggml.eos_token_id", num_tokens));
  HEADWISE_ASSIGN_OR_RETURN(
      data.unknown_id,
      ReadId(gguf, "tokenizer.ggml.unknown_token_id", num_tokens));
  for (const char* key :
       {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    HEADWISE_ASSIGN_OR_RETURN(const int32_t id, ReadId(gguf, key, num_tokens));
    if (id >= 0) data.end_of_turn_ids.push_back(id);
  }
  FindEndOfTurnTokens(data);
  return absl::OkStatus();
}

absl::Status ReadBooleans(const GgufContainer& gguf, TokenizerData& data) {
  const bool is_sentence_piece = data.kind == TokenizerKind::kSentencePiece;
  HEADWISE_ASSIGN_OR_RETURN(const auto add_bos,
                            FindBool(gguf, "tokenizer.ggml.add_bos_token"));
  // The defaults of files that lack the keys, as llama.cpp has them.
  data.add_bos =
      data.bos_id >= 0 &&
      add_bos.value_or(is_sentence_piece ||
                       data.pre_tokenizer == PreTokenizer::kLlamaBpe);
  if (!is_sentence_piece) return absl::OkStatus();
  HEADWISE_ASSIGN_OR_RETURN(const auto add_space_prefix,
                            FindBool(gguf, "tokenizer.ggml.add_space_prefix"));
  data.space_prefix = add_space_prefix.value_or(true)
                          ? SpacePrefix::kEverySection
                          : SpacePrefix::kNone;
  return absl::OkStatus();
}

absl::Status ReadMerges(const GgufContainer& gguf, TokenizerData& data) {
  constexpr absl::string_view kKey = "tokenizer.ggml.merges";
  if (gguf.Find(kKey) == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("GGUF key ", Quoted(kKey), " is missing"));
  }
  HEADWISE_ASSIGN_OR_RETURN(data.merges, TextArray(gguf, kKey, kMaxMerges));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerData> ReadGgufTokenizer(const GgufContainer& gguf) {
  HEADWISE_ASSIGN_OR_RETURN(const absl::string_view model,
                            RequireText(gguf, "tokenizer.ggml.model"));
  TokenizerData data;
  if (model == "gpt2") {
    data.kind = TokenizerKind::kBytePairEncoding;
  } else if (model == "llama") {
    data.kind = TokenizerKind::kSentencePiece;
  } else {
    return absl::UnimplementedError(
        absl::StrCat("tokenizer model ", Quoted(model),
                     " (GGUF key \"tokenizer.ggml.model\"); we have gpt2, "
                     "llama"));
  }
  HEADWISE_ASSIGN_OR_RETURN(
      data.tokens, TextArray(gguf, "tokenizer.ggml.tokens", kMaxVocab));
  if (data.tokens.empty()) {
    return absl::InvalidArgumentError(
        "GGUF key \"tokenizer.ggml.tokens\" is missing or empty");
  }
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    HEADWISE_RETURN_IF_ERROR(
        CheckTokenBytes(static_cast<int64_t>(id), data.tokens[id].size()));
  }
  HEADWISE_RETURN_IF_ERROR(ReadTypes(gguf, data));
  if (data.kind == TokenizerKind::kBytePairEncoding) {
    HEADWISE_RETURN_IF_ERROR(ReadPreTokenizer(gguf, data));
    HEADWISE_RETURN_IF_ERROR(ReadMerges(gguf, data));
  } else {
    HEADWISE_RETURN_IF_ERROR(ReadScores(gguf, data));
  }
  HEADWISE_RETURN_IF_ERROR(ReadSpecialIds(gguf, data));
  HEADWISE_RETURN_IF_ERROR(ReadBooleans(gguf, data));
  return data;
}

}  // namespace headwise
