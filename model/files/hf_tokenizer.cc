#include "model/files/hf_tokenizer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/files/bounded_json.h"
#include "model/files/byte_tokens.h"
#include "model/files/end_of_turn.h"
#include "model/files/hf_sentence_piece.h"
#include "model/files/hf_text_rules.h"
#include "model/files/hf_vocabulary.h"
#include "model/files/quoted.h"

namespace headwise {

namespace {

using Json = nlohmann::json;

// Options of a BPE that change what it does, and that our models do not use.
absl::Status CheckModel(const Json& tokenizer) {
  const Json* model = JsonMember(tokenizer, "model");
  if (model == nullptr || !model->is_object()) {
    return absl::InvalidArgumentError(
        "tokenizer.json: model is missing or no object");
  }
  HEADWISE_ASSIGN_OR_RETURN(const auto type, JsonText(*model, "type"));
  if (type != "BPE") {
    return absl::UnimplementedError(
        absl::StrCat("tokenizer.json: model.type ",
                     type ? Quoted(*type) : "(absent)", "; we have BPE"));
  }
  for (const char* key :
       {"continuing_subword_prefix", "end_of_word_suffix", "dropout"}) {
    const Json* value = JsonMember(*model, key);
    const bool is_empty = value == nullptr ||
                          (value->is_string() && *value == "") ||
                          (value->is_number() && *value == 0);
    if (!is_empty) {
      return absl::UnimplementedError(
          absl::StrCat("tokenizer.json: model.", key, " is set"));
    }
  }
  return absl::OkStatus();
}

// Copies the text once, into one string whose address is final.
void StoreText(const HfVocabulary& vocabulary, bool with_merges,
               TokenizerData& data) {
  size_t size = 0;
  for (const std::string& token : vocabulary.tokens) size += token.size();
  for (const auto& [left, right] : vocabulary.merges) {
    size += left.size() + 1 + right.size();
  }
  data.storage.resize(1);
  std::string& text = data.storage[0];
  text.reserve(size);  // views into it must stay
  const auto store = [&text](absl::string_view piece) {
    const size_t begin = text.size();
    text.append(piece.data(), piece.size());
    return absl::string_view(text.data() + begin, piece.size());
  };
  data.tokens.reserve(vocabulary.tokens.size());
  for (const std::string& token : vocabulary.tokens) {
    data.tokens.push_back(store(token));
  }
  if (!with_merges) return;
  data.merges.reserve(vocabulary.merges.size());
  for (const auto& [left, right] : vocabulary.merges) {
    data.merges.push_back(store(absl::StrCat(left, " ", right)));
  }
}

// "bos_token" and the like: text or {"content": text}. -1 if absent.
absl::StatusOr<int32_t> FindSpecial(const Json* config, const char* key,
                                    const HfVocabulary& vocabulary) {
  const Json* member = config == nullptr ? nullptr : JsonMember(*config, key);
  if (member == nullptr) return -1;
  const bool is_object = member->is_object();
  HEADWISE_ASSIGN_OR_RETURN(const auto text, is_object
                                                 ? JsonText(*member, "content")
                                                 : JsonText(*config, key));
  const auto it = vocabulary.id_of_token.find(text.value_or(""));
  if (it == vocabulary.id_of_token.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer_config.json: ", key, " ",
                     Quoted(text.value_or("")), " is not in the vocabulary"));
  }
  return it->second;
}

absl::Status ReadBos(const HfTokenizerInput& input,
                     const HfVocabulary& vocabulary, TokenizerData& data) {
  HEADWISE_ASSIGN_OR_RETURN(data.bos_id,
                            FindSpecial(input.config, "bos_token", vocabulary));
  HEADWISE_ASSIGN_OR_RETURN(const std::string prefix,
                            ReadPrefixToken(*input.tokenizer));
  if (prefix.empty()) {
    if (JsonMember(*input.tokenizer, "post_processor") == nullptr &&
        input.config != nullptr) {
      HEADWISE_ASSIGN_OR_RETURN(const auto add_bos,
                                JsonBool(*input.config, "add_bos_token"));
      data.add_bos = data.bos_id >= 0 && add_bos.value_or(false);
    }
    return absl::OkStatus();
  }
  const auto it = vocabulary.id_of_token.find(prefix);
  if (it == vocabulary.id_of_token.end() ||
      (data.bos_id >= 0 && data.bos_id != it->second)) {
    return absl::UnimplementedError(
        absl::StrCat("tokenizer.json: post_processor puts ", Quoted(prefix),
                     " in front, which is not the bos_token"));
  }
  data.bos_id = it->second;
  data.add_bos = true;
  return absl::OkStatus();
}

absl::Status ReadSpecialIds(const HfTokenizerInput& input,
                            const HfVocabulary& vocabulary,
                            TokenizerData& data) {
  HEADWISE_RETURN_IF_ERROR(ReadBos(input, vocabulary, data));
  HEADWISE_ASSIGN_OR_RETURN(data.eos_id,
                            FindSpecial(input.config, "eos_token", vocabulary));
  HEADWISE_ASSIGN_OR_RETURN(data.unknown_id,
                            FindSpecial(input.config, "unk_token", vocabulary));
  if (data.unknown_id >= 0 && data.kind == TokenizerKind::kSentencePiece) {
    data.types[data.unknown_id] = TokenType::kUnknown;
  }
  for (const int64_t id : input.eos_ids) {
    if (id < 0 || id >= input.vocab_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("eos_token_id ", id, " is outside the limits 0 to ",
                       input.vocab_size - 1));
    }
    if (data.eos_id < 0) data.eos_id = static_cast<int32_t>(id);
    data.end_of_turn_ids.push_back(static_cast<int32_t>(id));
  }
  FindEndOfTurnTokens(data);
  return absl::OkStatus();
}

absl::Status ReadByteLevel(const Json& tokenizer, TokenizerData& data) {
  data.kind = TokenizerKind::kBytePairEncoding;
  HEADWISE_ASSIGN_OR_RETURN(data.pre_tokenizer,
                            ReadBytePreTokenizer(tokenizer));
  HEADWISE_ASSIGN_OR_RETURN(data.normalize_nfc, ReadNfc(tokenizer));
  HEADWISE_ASSIGN_OR_RETURN(const auto ignore_merges,
                            JsonBool(tokenizer["model"], "ignore_merges"));
  data.whole_words_first = ignore_merges.value_or(false);
  return absl::OkStatus();
}

absl::Status ReadSentencePiece(const Json& tokenizer, HfVocabulary& vocabulary,
                               TokenizerData& data) {
  data.kind = TokenizerKind::kSentencePiece;
  HEADWISE_ASSIGN_OR_RETURN(data.space_prefix, ReadSpacePrefix(tokenizer));
  HEADWISE_ASSIGN_OR_RETURN(const auto ignore_merges,
                            JsonBool(tokenizer["model"], "ignore_merges"));
  if (ignore_merges.value_or(false)) {
    return absl::UnimplementedError(
        "tokenizer.json: model.ignore_merges with byte fallback is set");
  }
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (vocabulary.types[id] == TokenType::kNormal &&
        ByteOfToken(vocabulary.tokens[id])) {
      vocabulary.types[id] = TokenType::kByte;
    }
  }
  HEADWISE_ASSIGN_OR_RETURN(data.scores, ScoresFromMerges(vocabulary));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerData> ReadHfTokenizer(const HfTokenizerInput& input) {
  const Json& tokenizer = *input.tokenizer;
  HEADWISE_RETURN_IF_ERROR(CheckModel(tokenizer));
  HEADWISE_ASSIGN_OR_RETURN(HfVocabulary vocabulary,
                            ReadHfVocabulary(tokenizer, input.vocab_size));
  HEADWISE_ASSIGN_OR_RETURN(const auto byte_fallback,
                            JsonBool(tokenizer["model"], "byte_fallback"));
  TokenizerData data;
  if (byte_fallback.value_or(false)) {
    HEADWISE_RETURN_IF_ERROR(ReadSentencePiece(tokenizer, vocabulary, data));
  } else {
    HEADWISE_RETURN_IF_ERROR(ReadByteLevel(tokenizer, data));
  }
  StoreText(vocabulary, data.kind == TokenizerKind::kBytePairEncoding, data);
  data.types = vocabulary.types;
  HEADWISE_RETURN_IF_ERROR(ReadSpecialIds(input, vocabulary, data));
  return data;
}

}  // namespace headwise
