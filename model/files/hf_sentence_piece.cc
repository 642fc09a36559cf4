#include "model/files/hf_sentence_piece.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/files/quoted.h"

namespace headwise {

namespace {

bool IsCharacterBegin(char byte) {
  return (static_cast<uint8_t>(byte) & 0xc0) != 0x80;
}

// Splits of `piece` at a character into two tokens that text can become.
// O(kMaxTokenBytes) for each byte.
int64_t CountSplits(const HfVocabulary& vocabulary, absl::string_view piece) {
  const auto is_piece = [&](absl::string_view text) {
    const auto it = vocabulary.id_of_token.find(text);
    return it != vocabulary.id_of_token.end() &&
           vocabulary.types[it->second] == TokenType::kNormal;
  };
  int64_t count = 0;
  for (size_t cut = 1; cut < piece.size(); ++cut) {
    if (IsCharacterBegin(piece[cut]) && is_piece(piece.substr(0, cut)) &&
        is_piece(piece.substr(cut))) {
      ++count;
    }
  }
  return count;
}

absl::Status NotSentencePiece(const std::string& piece, absl::string_view why) {
  return absl::UnimplementedError(absl::StrCat(
      "tokenizer.json: BPE with byte fallback whose merges are not those of a "
      "SentencePiece model: piece ",
      Quoted(piece), " ", why));
}

}  // namespace

absl::StatusOr<std::vector<float>> ScoresFromMerges(
    const HfVocabulary& vocabulary) {
  const size_t num_tokens = vocabulary.tokens.size();
  const float unreachable = -static_cast<float>(vocabulary.merges.size()) - 1;
  std::vector<float> scores(num_tokens, unreachable);
  std::vector<int64_t> num_merges(num_tokens, 0);
  int32_t last_id = -1;
  std::set<std::pair<std::string, std::string>> pairs_of_piece;
  for (size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const auto& merge = vocabulary.merges[rank];
    const std::string piece = merge.first + merge.second;
    const int32_t id = vocabulary.id_of_token.at(piece);
    if (id != last_id) {
      if (num_merges[id] > 0) {
        return NotSentencePiece(piece, "has merges of different rank");
      }
      scores[id] = -static_cast<float>(rank);
      pairs_of_piece.clear();
    }
    if (!pairs_of_piece.insert(merge).second) {
      return NotSentencePiece(piece, "has a merge twice");
    }
    ++num_merges[id];
    last_id = id;
  }
  bool is_first = true;  // of the pieces that can be made of others
  for (size_t id = 0; id < num_tokens; ++id) {
    if (vocabulary.types[id] != TokenType::kNormal) continue;
    const int64_t num_splits = CountSplits(vocabulary, vocabulary.tokens[id]);
    if (is_first && num_splits > 0 && num_merges[id] == 0) {
      scores[id] = 1;  // above rank 0
    } else if (num_splits != num_merges[id]) {
      return NotSentencePiece(vocabulary.tokens[id],
                              absl::StrCat("has ", num_merges[id], " merges, ",
                                           num_splits, " splits"));
    }
    is_first = is_first && num_splits == 0;
  }
  return scores;
}

}  // namespace headwise
