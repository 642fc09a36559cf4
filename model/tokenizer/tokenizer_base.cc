#include "model/tokenizer/tokenizer_base.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

absl::Status CheckId(absl::string_view name, int64_t id, int64_t min_id,
                     int64_t vocab_size) {
  if (id >= min_id && id < vocab_size) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("tokenizer: ", name, " is ",
                                                 id, ", must be in [", min_id,
                                                 ", ", vocab_size, ")"));
}

// Of all special tokens together: each byte may become a node of the matcher.
// Published vocabularies have some thousand tokens of some ten bytes.
constexpr size_t kMaxSpecialBytes = size_t{1} << 24;

absl::Status CheckSpecialBytes(const TokenizerData& data) {
  size_t num_bytes = 0;
  for (size_t i = 0; i < data.tokens.size(); ++i) {
    if (SpecialTokenMatcher::IsMatched(data.types[i])) {
      num_bytes += data.tokens[i].size();
    }
  }
  if (num_bytes <= kMaxSpecialBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("tokenizer: special tokens of ", num_bytes,
                   " bytes together; the limit is ", kMaxSpecialBytes));
}

absl::Status CheckSize(absl::string_view name, size_t size, size_t vocab_size) {
  if (size == vocab_size) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "tokenizer: ", size, " ", name, " for ", vocab_size, " tokens"));
}

}  // namespace

absl::Status ValidateTokenizerData(const TokenizerData& data) {
  const size_t vocab_size = data.tokens.size();
  if (vocab_size == 0 || vocab_size > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer: ", vocab_size, " tokens, must be in [1, ",
                     std::numeric_limits<int32_t>::max(), "]"));
  }
  const auto size = static_cast<int64_t>(vocab_size);
  HEADWISE_RETURN_IF_ERROR(CheckSize("types", data.types.size(), vocab_size));
  HEADWISE_RETURN_IF_ERROR(CheckSpecialBytes(data));
  HEADWISE_RETURN_IF_ERROR(CheckId("bos_id", data.bos_id, -1, size));
  HEADWISE_RETURN_IF_ERROR(CheckId("eos_id", data.eos_id, -1, size));
  HEADWISE_RETURN_IF_ERROR(CheckId("unknown_id", data.unknown_id, -1, size));
  for (const int32_t id : data.end_of_turn_ids) {
    HEADWISE_RETURN_IF_ERROR(CheckId("end_of_turn_id", id, 0, size));
  }
  if (data.kind != TokenizerKind::kSentencePiece) return absl::OkStatus();
  HEADWISE_RETURN_IF_ERROR(CheckSize("scores", data.scores.size(), vocab_size));
  for (size_t i = 0; i < data.scores.size(); ++i) {
    if (std::isnan(data.scores[i])) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer: the score of token ", i, " is NaN"));
    }
  }
  return absl::OkStatus();
}

TokenizerBase::TokenizerBase(const TokenizerData& data)
    : data_(data), special_tokens_(data) {}

std::vector<int32_t> TokenizerBase::Encode(absl::string_view text,
                                           const EncodeOptions& options) const {
  int64_t num_steps = 0;
  return EncodeCounted(text, options, &num_steps);
}

std::vector<int32_t> TokenizerBase::EncodeCounted(absl::string_view text,
                                                  const EncodeOptions& options,
                                                  int64_t* num_steps) const {
  EncodeState state;
  if (options.add_special && data_.add_bos && data_.bos_id >= 0) {
    state.ids.push_back(data_.bos_id);
  }
  Before before = Before::kNothing;
  size_t pos = 0;
  while (pos < text.size()) {
    const std::optional<SpecialTokenMatcher::Match> match =
        special_tokens_.Find(text, pos, options.parse_special,
                             &state.num_steps);
    const size_t plain_end = match ? match->begin : text.size();
    const bool is_control =
        match && data_.types[match->id] != TokenType::kUserDefined;
    // A user-defined token is text too, and may need the space in front.
    const bool begins_user_defined =
        before != Before::kUserDefined && match && !is_control;
    if (plain_end > pos || begins_user_defined) {
      EncodePlain(text.substr(pos, plain_end - pos), before, &state);
    }
    if (!match) break;
    state.ids.push_back(match->id);
    before = is_control ? Before::kControl : Before::kUserDefined;
    pos = match->end;
  }
  *num_steps += state.num_steps + state.merger.num_steps();
  return std::move(state.ids);
}

bool TokenizerBase::IsEndOfGeneration(int32_t id) const {
  if (!IsInVocabulary(id)) return false;
  const auto& ends = data_.end_of_turn_ids;
  return id == data_.eos_id ||
         std::find(ends.begin(), ends.end(), id) != ends.end();
}

bool TokenizerBase::IsSpecial(int32_t id) const {
  if (!IsInVocabulary(id)) return false;
  const TokenType type = data_.types[id];
  return type == TokenType::kControl || type == TokenType::kUnknown;
}

int64_t TokenizerBase::vocab_size() const {
  return static_cast<int64_t>(data_.tokens.size());
}

}  // namespace headwise
