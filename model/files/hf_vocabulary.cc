#include "model/files/hf_vocabulary.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/files/bounded_json.h"
#include "model/files/model_limits.h"
#include "model/files/quoted.h"

namespace headwise {

namespace {

using Json = nlohmann::json;

absl::Status Wrong(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("tokenizer.json: ", what));
}

absl::StatusOr<int32_t> CheckedId(absl::string_view token, const Json& id,
                                  size_t vocab_size) {
  const bool is_count = id.is_number_unsigned() ||
                        (id.is_number_integer() && id.get<int64_t>() >= 0);
  if (!is_count || id.get<uint64_t>() >= vocab_size) {
    return Wrong(absl::StrCat("token ", Quoted(token), " has id ",
                              id.is_number() ? id.dump() : id.type_name(),
                              ", outside the limits 0 to ", vocab_size - 1));
  }
  return static_cast<int32_t>(id.get<uint64_t>());
}

// An added token may repeat one of the vocabulary, with the same id.
absl::Status AddToken(const std::string& text, int32_t id, TokenType type,
                      HfVocabulary& vocabulary) {
  HEADWISE_RETURN_IF_ERROR(CheckTokenBytes(id, text.size()));
  const auto [it, is_new] = vocabulary.id_of_token.emplace(text, id);
  if (it->second != id) {
    return Wrong(absl::StrCat("token ", Quoted(text), " has ids ", it->second,
                              " and ", id));
  }
  if (is_new && vocabulary.types[id] != TokenType::kUnused) {
    return Wrong(absl::StrCat("id ", id, " belongs to tokens ",
                              Quoted(vocabulary.tokens[id]), " and ",
                              Quoted(text)));
  }
  vocabulary.tokens[id] = text;
  vocabulary.types[id] = type;
  return absl::OkStatus();
}

absl::Status ReadVocab(const Json& model, HfVocabulary& vocabulary) {
  const Json* vocab = JsonMember(model, "vocab");
  if (vocab == nullptr || !vocab->is_object()) {
    return Wrong("model.vocab is missing or no object");
  }
  for (const auto& [text, id] : vocab->items()) {
    HEADWISE_ASSIGN_OR_RETURN(const int32_t checked_id,
                              CheckedId(text, id, vocabulary.tokens.size()));
    HEADWISE_RETURN_IF_ERROR(
        AddToken(text, checked_id, TokenType::kNormal, vocabulary));
  }
  return absl::OkStatus();
}

// Flags of an added token that change what text it is found in, or how much
// white space it takes with it, and that we do not have.
absl::Status CheckFlags(const Json& token, const std::string& text) {
  for (const char* flag : {"single_word", "lstrip", "rstrip"}) {
    HEADWISE_ASSIGN_OR_RETURN(const auto is_set, JsonBool(token, flag));
    if (is_set.value_or(false)) {
      return absl::UnimplementedError(absl::StrCat(
          "tokenizer.json: added token ", Quoted(text), " has ", flag));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadAddedTokens(const Json& tokenizer, HfVocabulary& vocabulary) {
  const Json* added = JsonMember(tokenizer, "added_tokens");
  if (added == nullptr) return absl::OkStatus();
  if (!added->is_array()) return Wrong("added_tokens is no array");
  for (const Json& token : *added) {
    if (!token.is_object()) return Wrong("an added token is no object");
    HEADWISE_ASSIGN_OR_RETURN(const auto text, JsonText(token, "content"));
    HEADWISE_ASSIGN_OR_RETURN(const auto is_special,
                              JsonBool(token, "special"));
    const Json* id = JsonMember(token, "id");
    if (!text || text->empty() || id == nullptr) {
      return Wrong("an added token has no content or no id");
    }
    HEADWISE_ASSIGN_OR_RETURN(const int32_t checked_id,
                              CheckedId(*text, *id, vocabulary.tokens.size()));
    HEADWISE_RETURN_IF_ERROR(CheckFlags(token, *text));
    HEADWISE_RETURN_IF_ERROR(AddToken(*text, checked_id,
                                      is_special.value_or(false)
                                          ? TokenType::kControl
                                          : TokenType::kUserDefined,
                                      vocabulary));
  }
  return absl::OkStatus();
}

// Either form of a merge; in the text form the one space separates.
absl::StatusOr<std::pair<std::string, std::string>> ReadMerge(
    const Json& merge) {
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
      merge[1].is_string()) {
    return std::make_pair(merge[0].get<std::string>(),
                          merge[1].get<std::string>());
  }
  if (merge.is_string()) {
    const auto& text = merge.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != std::string::npos && space == text.rfind(' ')) {
      return std::make_pair(text.substr(0, space), text.substr(space + 1));
    }
    return Wrong(absl::StrCat("merge ", Quoted(text), " has not one space"));
  }
  return Wrong("a merge is neither \"left right\" nor [left, right]");
}

absl::Status ReadMerges(const Json& model, HfVocabulary& vocabulary) {
  const Json* merges = JsonMember(model, "merges");
  if (merges == nullptr || !merges->is_array()) {
    return Wrong("model.merges is missing or no array");
  }
  if (merges->size() > static_cast<size_t>(kMaxMerges)) {
    return Wrong(
        absl::StrCat(merges->size(), " merges; the limit is ", kMaxMerges));
  }
  vocabulary.merges.reserve(merges->size());
  for (const Json& json : *merges) {
    HEADWISE_ASSIGN_OR_RETURN(auto merge, ReadMerge(json));
    const auto& ids = vocabulary.id_of_token;
    for (const std::string& token :
         {merge.first, merge.second, merge.first + merge.second}) {
      if (!ids.contains(token)) {
        return Wrong(absl::StrCat("merge ", Quoted(merge.first), " + ",
                                  Quoted(merge.second), ": ", Quoted(token),
                                  " is not in the vocabulary"));
      }
    }
    vocabulary.merges.push_back(std::move(merge));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<HfVocabulary> ReadHfVocabulary(const Json& tokenizer,
                                              int64_t vocab_size) {
  const Json& model = tokenizer["model"];
  HfVocabulary vocabulary;
  vocabulary.tokens.resize(vocab_size);
  vocabulary.types.resize(vocab_size, TokenType::kUnused);
  HEADWISE_RETURN_IF_ERROR(ReadVocab(model, vocabulary));
  HEADWISE_RETURN_IF_ERROR(ReadMerges(model, vocabulary));
  HEADWISE_RETURN_IF_ERROR(ReadAddedTokens(tokenizer, vocabulary));
  for (int64_t id = 0; id < vocab_size; ++id) {
    if (vocabulary.types[id] == TokenType::kUnused) {
      vocabulary.tokens[id] = absl::StrCat("[PAD", id, "]");
    }
  }
  return vocabulary;
}

}  // namespace headwise
