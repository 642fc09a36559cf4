#include "model/tokenizer/byte_pair_tokenizer.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/tokenizer/byte_alphabet.h"
#include "model/tokenizer/nfc.h"
#include "model/tokenizer/word_scanner.h"

namespace headwise {
namespace {

bool IsAscii(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<uint8_t>(c) < 0x80; });
}

absl::Status MergeError(size_t rank, absl::string_view merge,
                        absl::string_view problem) {
  // The text comes from the file: it may be long and may be no text at all.
  return absl::InvalidArgumentError(
      absl::StrCat("tokenizer: merge ", rank, " \"",
                   absl::CHexEscape(merge.substr(0, 80)), "\" ", problem));
}

}  // namespace

absl::StatusOr<std::unique_ptr<BytePairTokenizer>> BytePairTokenizer::Create(
    const TokenizerData& data) {
  HEADWISE_RETURN_IF_ERROR(ValidateTokenizerData(data));
  auto tokenizer =
      std::unique_ptr<BytePairTokenizer>(new BytePairTokenizer(data));
  HEADWISE_RETURN_IF_ERROR(tokenizer->AddMerges());
  return tokenizer;
}

BytePairTokenizer::BytePairTokenizer(const TokenizerData& data)
    : TokenizerBase(data) {
  ids_.reserve(data.tokens.size());
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    ids_.try_emplace(data.tokens[i], static_cast<int32_t>(i));
    max_token_bytes_ = std::max(max_token_bytes_, data.tokens[i].size());
  }
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = ids_.find(ByteToAlphabet(static_cast<uint8_t>(byte)));
    byte_ids_[byte] = found == ids_.end() ? -1 : found->second;
  }
}

absl::Status BytePairTokenizer::AddMerges() {
  const auto& merges = data().merges;
  merges_.reserve(merges.size());
  std::string joined;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const absl::string_view merge = merges[rank];
    // Not at 0: a token may begin with a space that is no separator.
    const size_t space = merge.find(' ', 1);
    if (space == absl::string_view::npos) {
      return MergeError(rank, merge, "is not two tokens with a space between");
    }
    const auto left = ids_.find(merge.substr(0, space));
    const auto right = ids_.find(merge.substr(space + 1));
    joined.assign(merge.data(), space);
    joined.append(merge.data() + space + 1, merge.size() - space - 1);
    const auto whole = ids_.find(joined);
    if (left == ids_.end() || right == ids_.end() || whole == ids_.end()) {
      return MergeError(rank, merge,
                        "names or makes a token outside the vocabulary");
    }
    merges_.try_emplace(
        PairKey(left->second, right->second),
        PairMerger::Merge{static_cast<int32_t>(rank), whole->second});
  }
  return absl::OkStatus();
}

void BytePairTokenizer::EncodePlain(absl::string_view text, Before before,
                                    EncodeState* state) const {
  std::string normalized;
  if (data().normalize_nfc && !IsAscii(text)) {
    normalized = NormalizeNfc(text);
    text = normalized;
  }
  WordScanner scanner(data().pre_tokenizer, text);
  absl::string_view word;
  while (scanner.Next(&word)) {
    for (size_t pos = 0; pos < word.size(); pos += kMaxWordBytes) {
      EncodeWord(word.substr(pos, kMaxWordBytes), state);
    }
  }
  state->num_steps += scanner.num_reads();
}

void BytePairTokenizer::EncodeWord(absl::string_view word,
                                   EncodeState* state) const {
  if (data().whole_words_first) {
    const int32_t id = FindWord(word, &state->buffer);
    if (id >= 0) {
      state->ids.push_back(id);
      return;
    }
  }
  PairMerger& merger = state->merger;
  merger.Clear();
  const auto size = static_cast<int32_t>(word.size());
  for (int32_t i = 0; i < size; ++i) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(word[i])];
    if (id >= 0) merger.Append({id, i, i + 1});
  }
  merger.MergeAll(
      [this](const PairMerger::Symbol& left, const PairMerger::Symbol& right) {
        const auto found = merges_.find(PairKey(left.id, right.id));
        return found == merges_.end() ? PairMerger::Merge() : found->second;
      });
  merger.ForEach([state](const PairMerger::Symbol& symbol) {
    state->ids.push_back(symbol.id);
  });
}

int32_t BytePairTokenizer::FindWord(absl::string_view word,
                                    std::string* buffer) const {
  if (word.size() > max_token_bytes_) return -1;
  buffer->clear();
  for (const char c : word) {
    const absl::string_view letter = ByteToAlphabet(static_cast<uint8_t>(c));
    buffer->append(letter.data(), letter.size());
  }
  const auto found = ids_.find(*buffer);
  return found == ids_.end() ? -1 : found->second;
}

std::string BytePairTokenizer::TokenBytes(int32_t id) const {
  if (!IsInVocabulary(id)) return "";
  const absl::string_view token = data().tokens[id];
  const bool as_written =
      IsSpecial(id) || data().types[id] == TokenType::kUserDefined;
  return as_written ? std::string(token) : AlphabetToBytes(token);
}

std::string BytePairTokenizer::Decode(absl::Span<const int32_t> ids,
                                      bool skip_special) const {
  std::string text;
  for (const int32_t id : ids) {
    if (skip_special && IsSpecial(id)) continue;
    text += TokenBytes(id);
  }
  return text;
}

}  // namespace headwise
