// Cuts a template's source into tokens.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_LEXER_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_LEXER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/chat_template/position.h"

namespace headwise::jinja {

enum class TokenType {
  kText,  // outside of tags, white space control already applied
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,   // `text` has its escapes resolved
  kInteger,  // `text` as written, without '_'
  kFloat,
  kOperator,
  kEnd,  // of the source; the last token
};

struct Token {
  TokenType type = TokenType::kEnd;
  std::string text;
  Position position;
};

// Comments are gone, raw blocks are text. Follows Jinja2 3.1 with trim_blocks
// and lstrip_blocks on and keep_trailing_newline off, as chat templates are
// rendered. InvalidArgument with the place, ResourceExhausted for a source of
// more than kMaxSourceBytes.
absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source);

// For what Tokenize is made of: one token of an expression at `source[offset]`,
// which is no white space. `*num_bytes` tells its length.
absl::StatusOr<Token> ReadExpressionToken(absl::string_view source,
                                          size_t offset, size_t* num_bytes);

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_LEXER_H_
