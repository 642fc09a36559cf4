#include "model/chat_template/lexer.h"

#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/chat_template/limits.h"
#include "model/chat_template/unicode.h"

namespace headwise::jinja {
namespace {

// \r\n and \r become \n, and one line end at the very end goes.
std::string NormalizeNewlines(absl::string_view source) {
  std::string normal;
  normal.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      normal.push_back(source[i]);
    } else if (i + 1 == source.size() || source[i + 1] != '\n') {
      normal.push_back('\n');
    }
  }
  if (absl::EndsWith(normal, "\n")) normal.pop_back();
  return normal;
}

size_t SkipSpace(absl::string_view source, size_t offset) {
  return source.size() - StripLeft(source.substr(offset), std::nullopt).size();
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (offset_ < source_.size()) {
      const absl::Status status = ReadTextAndTag();
      if (!status.ok()) return At(PositionOf(error_offset_), status);
    }
    Add(TokenType::kEnd, "", offset_);
    return std::move(tokens_);
  }

 private:
  // Source up to the next tag, and that tag.
  absl::Status ReadTextAndTag() {
    const size_t begin = offset_;
    size_t tag = begin;
    while (true) {
      tag = source_.find('{', tag);
      if (tag == std::string::npos || tag + 1 == source_.size()) {
        Add(TokenType::kText, source_.substr(begin), begin);
        offset_ = source_.size();
        return absl::OkStatus();
      }
      const char next = source_[tag + 1];
      if (next == '{' || next == '%' || next == '#') break;
      ++tag;
    }
    error_offset_ = tag;
    AddTextBefore(begin, tag);
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    offset_ = tag + (sign == '-' || sign == '+' ? 3 : 2);
    switch (source_[tag + 1]) {
      case '{':
        Add(TokenType::kVariableBegin, "{{", tag);
        return ReadExpression(TokenType::kVariableEnd);
      case '#':
        return SkipComment();
      default:
        if (const std::optional<size_t> raw = EndOfRawTag("raw", offset_)) {
          return ReadRaw(*raw);
        }
        Add(TokenType::kBlockBegin, "{%", tag);
        return ReadExpression(TokenType::kBlockEnd);
    }
  }

  // The text [begin, tag), less what the tag at `tag` strips from its end.
  void AddTextBefore(size_t begin, size_t tag) {
    absl::string_view text =
        absl::string_view(source_).substr(begin, tag - begin);
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    if (sign == '-') {
      text = StripRight(text, std::nullopt);
    } else if (sign != '+' && source_[tag + 1] != '{') {
      // lstrip_blocks: a block or comment that is first on its line takes the
      // white space before it along.
      const size_t newline = text.rfind('\n');
      const bool has_newline = newline != absl::string_view::npos;
      if (has_newline || at_line_start_) {
        const size_t line = has_newline ? newline + 1 : 0;
        if (StripLeft(text.substr(line), std::nullopt).empty()) {
          text = text.substr(0, line);
        }
      }
    }
    if (!text.empty()) Add(TokenType::kText, std::string(text), begin);
  }

  // If a tag ends at `offset_`, steps over it and what it strips.
  bool SkipTagEnd(absl::string_view end) {
    const absl::string_view rest = absl::string_view(source_).substr(offset_);
    const bool is_variable = end == "}}";
    size_t after = offset_ + end.size();
    if (absl::StartsWith(rest, end)) {
      // trim_blocks: a block or comment takes the line end along.
      if (!is_variable && after < source_.size() && source_[after] == '\n') {
        ++after;
      }
    } else if (absl::StartsWith(rest, absl::StrCat("-", end))) {
      after = SkipSpace(source_, after + 1);
    } else if (!is_variable && absl::StartsWith(rest, absl::StrCat("+", end))) {
      after += 1;
    } else {
      return false;
    }
    at_line_start_ = source_[after - 1] == '\n';
    offset_ = after;
    return true;
  }

  absl::Status ReadExpression(TokenType end_type) {
    const absl::string_view end =
        end_type == TokenType::kVariableEnd ? "}}" : "%}";
    std::string open_brackets;  // closers that are awaited
    while (true) {
      offset_ = SkipSpace(source_, offset_);
      if (offset_ == source_.size()) {
        return absl::InvalidArgumentError(
            absl::StrCat("tag without its end '", end, "'"));
      }
      error_offset_ = offset_;
      if (open_brackets.empty()) {
        const size_t begin = offset_;
        if (SkipTagEnd(end)) {
          Add(end_type, std::string(end), begin);
          return absl::OkStatus();
        }
      }
      size_t num_bytes = 0;
      HEADWISE_ASSIGN_OR_RETURN(
          Token token, ReadExpressionToken(source_, offset_, &num_bytes));
      if (token.type == TokenType::kOperator) {
        HEADWISE_RETURN_IF_ERROR(Balance(token.text[0], &open_brackets));
      }
      token.position = PositionOf(offset_);
      tokens_.push_back(std::move(token));
      offset_ += num_bytes;
    }
  }

  static absl::Status Balance(char c, std::string* open_brackets) {
    if (c == '(') open_brackets->push_back(')');
    if (c == '[') open_brackets->push_back(']');
    if (c == '{') open_brackets->push_back('}');
    if (c != ')' && c != ']' && c != '}') return absl::OkStatus();
    if (open_brackets->empty() || open_brackets->back() != c) {
      return absl::InvalidArgumentError(
          absl::StrCat("unexpected '", std::string(1, c), "'"));
    }
    open_brackets->pop_back();
    return absl::OkStatus();
  }

  absl::Status SkipComment() {
    const size_t end = source_.find("#}", offset_);
    if (end == std::string::npos) {
      return absl::InvalidArgumentError("comment without its end '#}'");
    }
    const bool has_sign =
        end > offset_ && (source_[end - 1] == '-' || source_[end - 1] == '+');
    offset_ = has_sign ? end - 1 : end;
    SkipTagEnd("#}");
    return absl::OkStatus();
  }

  // If `name` and the end of its tag stand at `offset`, where the tag ends. The
  // end may have a sign of its own.
  std::optional<size_t> EndOfRawTag(absl::string_view name,
                                    size_t offset) const {
    offset = SkipSpace(source_, offset);
    if (!absl::StartsWith(absl::string_view(source_).substr(offset), name)) {
      return std::nullopt;
    }
    offset = SkipSpace(source_, offset + name.size());
    const absl::string_view rest = absl::string_view(source_).substr(offset);
    if (absl::StartsWith(rest, "%}") || absl::StartsWith(rest, "-%}") ||
        (name == "endraw" && absl::StartsWith(rest, "+%}"))) {
      return offset;
    }
    return std::nullopt;
  }

  // A raw block whose begin tag ends with the sign or "%}" at `tag_end`.
  absl::Status ReadRaw(size_t tag_end) {
    offset_ =
        source_[tag_end] == '-' ? SkipSpace(source_, tag_end + 3) : tag_end + 2;
    at_line_start_ = source_[offset_ - 1] == '\n';
    const size_t begin = offset_;
    for (size_t tag = begin;; ++tag) {
      tag = source_.find("{%", tag);
      if (tag == std::string::npos) {
        return absl::InvalidArgumentError("raw block without its end");
      }
      const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
      const size_t name = tag + (sign == '-' || sign == '+' ? 3 : 2);
      const std::optional<size_t> end = EndOfRawTag("endraw", name);
      if (!end.has_value()) continue;
      AddTextBefore(begin, tag);
      offset_ = *end;
      SkipTagEnd("%}");
      return absl::OkStatus();
    }
  }

  void Add(TokenType type, std::string text, size_t offset) {
    tokens_.push_back({type, std::move(text), PositionOf(offset)});
  }

  // O(distance from the last call) for offsets that grow.
  Position PositionOf(size_t offset) {
    if (offset < position_offset_) {
      position_offset_ = 0;
      position_ = {};
    }
    while (position_offset_ < offset) {
      if (source_[position_offset_] == '\n') {
        ++position_.line;
        position_.column = 1;
      } else {
        ++position_.column;
      }
      position_offset_ += DecodeAt(source_, position_offset_).num_bytes;
    }
    return position_;
  }

  const std::string source_;
  size_t offset_ = 0;
  size_t error_offset_ = 0;
  // Whether what was read last ended a line, so that a tag may be first on its.
  bool at_line_start_ = true;
  std::vector<Token> tokens_;
  size_t position_offset_ = 0;
  Position position_;
};

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("chat template of ", source.size(),
                     " bytes is longer than ", kMaxSourceBytes));
  }
  const std::optional<size_t> invalid = FindInvalidUtf8(source);
  if (invalid.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("chat template is not UTF-8 at byte ", *invalid));
  }
  return Lexer(NormalizeNewlines(source)).Run();
}

}  // namespace headwise::jinja
