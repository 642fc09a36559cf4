#include "model/tokenizer/sentence_piece_tokenizer.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "model/tokenizer/utf8.h"

namespace headwise {
namespace {

constexpr absl::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

// The value of "<0xXX>", or -1.
int ParseByteToken(absl::string_view token) {
  if (token.size() != 6 || !absl::StartsWith(token, "<0x") || token[5] != '>' ||
      !absl::ascii_isxdigit(token[3]) || !absl::ascii_isxdigit(token[4])) {
    return -1;
  }
  return static_cast<uint8_t>(absl::HexStringToBytes(token.substr(3, 2))[0]);
}

// Whether U+2581 stands behind another character.
bool HasInnerSpaceMark(absl::string_view token) {
  size_t pos = 0;
  while (absl::StartsWith(token.substr(pos), kSpaceMark)) {
    pos += kSpaceMark.size();
  }
  return absl::StrContains(token.substr(pos), kSpaceMark);
}

bool CanBeMerged(TokenType type) {
  return type == TokenType::kNormal || type == TokenType::kUserDefined ||
         type == TokenType::kUnused;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SentencePieceTokenizer>>
SentencePieceTokenizer::Create(const TokenizerData& data) {
  HEADWISE_RETURN_IF_ERROR(ValidateTokenizerData(data));
  auto tokenizer =
      std::unique_ptr<SentencePieceTokenizer>(new SentencePieceTokenizer(data));
  HEADWISE_RETURN_IF_ERROR(tokenizer->AddByteTokens());
  tokenizer->AddMergeableTokens();
  return tokenizer;
}

SentencePieceTokenizer::SentencePieceTokenizer(const TokenizerData& data)
    : TokenizerBase(data) {
  byte_ids_.fill(-1);
}

absl::Status SentencePieceTokenizer::AddByteTokens() {
  for (size_t i = 0; i < data().tokens.size(); ++i) {
    if (data().types[i] != TokenType::kByte) continue;
    const int byte = ParseByteToken(data().tokens[i]);
    if (byte < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer: byte token ", i, " is \"",
                       absl::CHexEscape(data().tokens[i].substr(0, 80)),
                       "\", must be <0xXX>"));
    }
    byte_ids_[byte] = static_cast<int32_t>(i);
  }
  return absl::OkStatus();
}

void SentencePieceTokenizer::AddMergeableTokens() {
  // Equal scores share a rank, so that position decides between them.
  std::vector<float> scores = data().scores;
  std::sort(scores.begin(), scores.end(), std::greater<>());
  scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
  mergeable_.reserve(data().tokens.size());
  for (size_t i = 0; i < data().tokens.size(); ++i) {
    const absl::string_view token = data().tokens[i];
    if (!CanBeMerged(data().types[i]) || token.empty()) continue;
    const auto rank = std::lower_bound(scores.begin(), scores.end(),
                                       data().scores[i], std::greater<>()) -
                      scores.begin();
    mergeable_.try_emplace(token, PairMerger::Merge{static_cast<int32_t>(rank),
                                                    static_cast<int32_t>(i)});
    max_mergeable_bytes_ = std::max(max_mergeable_bytes_, token.size());
    if (HasInnerSpaceMark(token)) splits_at_space_ = false;
  }
}

void SentencePieceTokenizer::EncodePlain(absl::string_view text, Before before,
                                         EncodeState* state) const {
  state->buffer.clear();
  const bool only_without_one =
      data().space_prefix != SpacePrefix::kEverySection;
  const bool has_one =
      text.empty() || text[0] == ' ' || absl::StartsWith(text, kSpaceMark);
  if (MayGetPrefix(before) && !(only_without_one && has_one)) {
    state->buffer.assign(kSpaceMark.data(), kSpaceMark.size());
  }
  size_t pos = 0;
  do {
    pos = FillBuffer(text, pos, state);
    EncodeBuffer(state);
    state->buffer.clear();
  } while (pos < text.size());
}

bool SentencePieceTokenizer::MayGetPrefix(Before before) const {
  switch (data().space_prefix) {
    case SpacePrefix::kNone:
      return false;
    case SpacePrefix::kEverySection:
      return before != Before::kUserDefined;
    case SpacePrefix::kEverySectionWithoutOne:
      return true;
    case SpacePrefix::kFirstWithoutOne:
      return before == Before::kNothing;
  }
  return false;
}

size_t SentencePieceTokenizer::FillBuffer(absl::string_view text, size_t pos,
                                          EncodeState* state) const {
  std::string& buffer = state->buffer;
  while (pos < text.size() &&
         static_cast<int64_t>(buffer.size()) < kMaxWordBytes) {
    ++state->num_steps;
    if (text[pos] != ' ') {
      const int32_t size = DecodeUtf8(text.substr(pos)).size;
      buffer.append(text.data() + pos, size);
      pos += size;
      continue;
    }
    if (splits_at_space_ && !buffer.empty() &&
        !absl::EndsWith(buffer, kSpaceMark)) {
      break;
    }
    buffer.append(kSpaceMark.data(), kSpaceMark.size());
    ++pos;
  }
  return pos;
}

void SentencePieceTokenizer::EncodeBuffer(EncodeState* state) const {
  const absl::string_view buffer = state->buffer;
  PairMerger& merger = state->merger;
  merger.Clear();
  const auto size = static_cast<int32_t>(buffer.size());
  for (int32_t begin = 0; begin < size;) {
    const int32_t end = begin + DecodeUtf8(buffer.substr(begin)).size;
    merger.Append({Find(buffer.substr(begin, end - begin)).id, begin, end});
    begin = end;
  }
  merger.MergeAll([this, buffer](const PairMerger::Symbol& left,
                                 const PairMerger::Symbol& right) {
    return Find(buffer.substr(left.begin, right.end - left.begin));
  });
  merger.ForEach([this, buffer, state](const PairMerger::Symbol& symbol) {
    if (symbol.id >= 0) {
      state->ids.push_back(symbol.id);
    } else {
      AppendBytes(buffer.substr(symbol.begin, symbol.end - symbol.begin),
                  state);
    }
  });
}

void SentencePieceTokenizer::AppendBytes(absl::string_view bytes,
                                         EncodeState* state) const {
  const bool all_present = std::all_of(
      bytes.begin(), bytes.end(),
      [this](char c) { return byte_ids_[static_cast<uint8_t>(c)] >= 0; });
  if (all_present) {
    for (const char c : bytes) {
      state->ids.push_back(byte_ids_[static_cast<uint8_t>(c)]);
    }
  } else if (data().unknown_id >= 0) {
    state->ids.push_back(data().unknown_id);
  }
}

PairMerger::Merge SentencePieceTokenizer::Find(absl::string_view text) const {
  if (text.size() > max_mergeable_bytes_) return {};
  const auto found = mergeable_.find(text);
  return found == mergeable_.end() ? PairMerger::Merge() : found->second;
}

std::string SentencePieceTokenizer::TokenBytes(int32_t id) const {
  if (!IsInVocabulary(id)) return "";
  const absl::string_view token = data().tokens[id];
  switch (data().types[id]) {
    case TokenType::kByte:
      return std::string(1, static_cast<char>(ParseByteToken(token)));
    case TokenType::kNormal:
    case TokenType::kUnused:
      return absl::StrReplaceAll(token, {{kSpaceMark, " "}});
    default:
      return std::string(token);
  }
}

std::string SentencePieceTokenizer::Decode(absl::Span<const int32_t> ids,
                                           bool skip_special) const {
  std::string text;
  std::optional<Before> before = Before::kNothing;  // nullopt: text
  for (const int32_t id : ids) {
    if (!IsInVocabulary(id)) continue;
    const TokenType type = data().types[id];
    const bool may_have_prefix =
        type == TokenType::kNormal && before && MayGetPrefix(*before);
    if (type == TokenType::kControl) {
      // The bos that add_special puts there is no part of the text.
      const bool is_bos = id == data().bos_id && before == Before::kNothing;
      if (!is_bos) before = Before::kControl;
    } else if (type == TokenType::kUserDefined) {
      before = Before::kUserDefined;
    } else {
      before = std::nullopt;
    }
    if (skip_special && IsSpecial(id)) continue;
    const std::string bytes = TokenBytes(id);
    const bool has_prefix = may_have_prefix && absl::StartsWith(bytes, " ");
    text.append(bytes, has_prefix ? 1 : 0, std::string::npos);
  }
  return text;
}

}  // namespace headwise
