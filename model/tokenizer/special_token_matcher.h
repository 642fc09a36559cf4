// Finds special tokens inside text.

#ifndef HEADWISE_MODEL_TOKENIZER_SPECIAL_TOKEN_MATCHER_H_
#define HEADWISE_MODEL_TOKENIZER_SPECIAL_TOKEN_MATCHER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "model/tokenizer/tokenizer_data.h"

namespace headwise {

// A trie over the texts of all control, unknown and user-defined tokens.
// Immutable after construction.
class SpecialTokenMatcher {
 public:
  struct Match {
    size_t begin = 0;
    size_t end = 0;
    int32_t id = -1;
  };

  // Whether tokens of this type are looked for in text.
  static bool IsMatched(TokenType type) {
    return type == TokenType::kControl || type == TokenType::kUnknown ||
           type == TokenType::kUserDefined;
  }

  // `data` is only read here. Tokens without text are left out; of two with the
  // same text the lower id counts.
  explicit SpecialTokenMatcher(const TokenizerData& data);

  // The leftmost match at or after `from`, and of those that begin there the
  // longest; user-defined tokens only, unless `parse_control`. Adds the bytes
  // that it looked at to `num_steps`: at most the distance walked times the
  // length of the longest special token, which the model fixes.
  std::optional<Match> Find(absl::string_view text, size_t from,
                            bool parse_control, int64_t* num_steps) const;

 private:
  struct Node {
    int32_t id = -1;  // of the token that ends here; -1: none
    bool is_control = false;
  };

  void Insert(absl::string_view token, int32_t id, bool is_control);
  std::optional<Match> LongestAt(absl::string_view text, size_t begin,
                                 bool parse_control, int64_t* num_steps) const;

  static uint64_t EdgeKey(int32_t node, uint8_t byte) {
    return (static_cast<uint64_t>(node) << 8) | byte;
  }

  std::vector<Node> nodes_;  // nodes_[0] is the root
  absl::flat_hash_map<uint64_t, int32_t> edges_;
  std::array<bool, 256> begins_token_ = {};
};

}  // namespace headwise

#endif  // HEADWISE_MODEL_TOKENIZER_SPECIAL_TOKEN_MATCHER_H_
