#include "model/tokenizer/special_token_matcher.h"

namespace headwise {

SpecialTokenMatcher::SpecialTokenMatcher(const TokenizerData& data)
    : nodes_(1) {
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    if (!IsMatched(data.types[i]) || data.tokens[i].empty()) continue;
    Insert(data.tokens[i], static_cast<int32_t>(i),
           data.types[i] != TokenType::kUserDefined);
  }
}

void SpecialTokenMatcher::Insert(absl::string_view token, int32_t id,
                                 bool is_control) {
  begins_token_[static_cast<uint8_t>(token[0])] = true;
  int32_t node = 0;
  for (const char c : token) {
    const auto [edge, is_new] =
        edges_.try_emplace(EdgeKey(node, static_cast<uint8_t>(c)),
                           static_cast<int32_t>(nodes_.size()));
    if (is_new) nodes_.emplace_back();
    node = edge->second;
  }
  if (nodes_[node].id < 0) nodes_[node] = {id, is_control};
}

std::optional<SpecialTokenMatcher::Match> SpecialTokenMatcher::Find(
    absl::string_view text, size_t from, bool parse_control,
    int64_t* num_steps) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    ++*num_steps;
    if (!begins_token_[static_cast<uint8_t>(text[begin])]) continue;
    if (auto match = LongestAt(text, begin, parse_control, num_steps)) {
      return match;
    }
  }
  return std::nullopt;
}

std::optional<SpecialTokenMatcher::Match> SpecialTokenMatcher::LongestAt(
    absl::string_view text, size_t begin, bool parse_control,
    int64_t* num_steps) const {
  std::optional<Match> longest;
  int32_t node = 0;
  for (size_t pos = begin; pos < text.size(); ++pos) {
    ++*num_steps;
    const auto edge =
        edges_.find(EdgeKey(node, static_cast<uint8_t>(text[pos])));
    if (edge == edges_.end()) break;
    node = edge->second;
    const Node& at = nodes_[node];
    if (at.id >= 0 && (parse_control || !at.is_control)) {
      longest = Match{begin, pos + 1, at.id};
    }
  }
  return longest;
}

}  // namespace headwise
