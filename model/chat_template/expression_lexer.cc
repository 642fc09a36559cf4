// The tokens inside of a tag: names, numbers, strings and operators.

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/chat_template/lexer.h"
#include "model/chat_template/limits.h"
#include "model/chat_template/unicode.h"

namespace headwise::jinja {
namespace {

// Longest first, so that the first match is the right one.
constexpr absl::string_view kOperators[] = {
    "**", "//", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "[",
    "]",  "(",  ")",  "{",  "}",  "<",  ">", "=", ".", ":", "|", ",", ";"};

bool IsNameByte(char c) { return absl::ascii_isalnum(c) || c == '_'; }

// Bytes of `\d+(_\d+)*` at `offset`, or 0.
size_t CountDigits(absl::string_view source, size_t offset) {
  size_t end = offset;
  while (end < source.size()) {
    if (absl::ascii_isdigit(source[end])) {
      ++end;
    } else if (source[end] == '_' && end > offset && end + 1 < source.size() &&
               absl::ascii_isdigit(source[end + 1])) {
      end += 2;
    } else {
      break;
    }
  }
  return end - offset;
}

// Bytes of a float at `offset`, or 0 if what stands there is none.
size_t CountFloat(absl::string_view source, size_t offset) {
  // The 1.2 of `x.1.2` are two indices.
  if (offset > 0 && source[offset - 1] == '.') return 0;
  size_t end = offset + CountDigits(source, offset);
  bool is_float = false;
  if (end < source.size() && source[end] == '.') {
    const size_t num_digits = CountDigits(source, end + 1);
    if (num_digits > 0) {
      end += 1 + num_digits;
      is_float = true;
    }
  }
  if (end < source.size() && absl::ascii_tolower(source[end]) == 'e') {
    size_t digits = end + 1;
    if (digits < source.size() &&
        (source[digits] == '+' || source[digits] == '-')) {
      ++digits;
    }
    const size_t num_digits = CountDigits(source, digits);
    if (num_digits > 0) {
      end = digits + num_digits;
      is_float = true;
    }
  }
  return is_float ? end - offset : 0;
}

// Bytes of an integer: decimal, or with 0x, 0o, 0b before it. A decimal one
// that begins with 0 is zeros only.
size_t CountInteger(absl::string_view source, size_t offset) {
  const size_t num_digits = CountDigits(source, offset);
  if (source[offset] != '0') return num_digits;
  const char base =
      offset + 1 < source.size() ? absl::ascii_tolower(source[offset + 1]) : 0;
  size_t end = offset + 2;
  const auto is_digit = [base](char c) {
    if (base == 'x') return absl::ascii_isxdigit(c);
    if (base == 'o') return c >= '0' && c <= '7';
    return base == 'b' && (c == '0' || c == '1');
  };
  while (end < source.size() &&
         (is_digit(source[end]) ||
          (source[end] == '_' && end + 1 < source.size() &&
           is_digit(source[end + 1])))) {
    ++end;
  }
  if (end > offset + 2) return end - offset;
  size_t num_zeros = 0;
  while (num_zeros < num_digits && (source[offset + num_zeros] == '0' ||
                                    source[offset + num_zeros] == '_')) {
    ++num_zeros;
  }
  return num_zeros;
}

// What a one-letter escape stands for, or -1.
int SimpleEscape(char letter) {
  switch (letter) {
    case '\\':
    case '\'':
    case '"':
      return letter;
    case 'n':
      return '\n';
    case 't':
      return '\t';
    case 'r':
      return '\r';
    case 'a':
      return '\a';
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'v':
      return '\v';
    default:
      return -1;
  }
}

// Appends the code point that `digits` spell.
absl::Status AppendNumericEscape(absl::string_view digits, size_t num_wanted,
                                 uint32_t base, std::string* out) {
  uint32_t code_point = 0;
  bool is_valid = digits.size() == num_wanted;
  for (const char c : digits) {
    is_valid = is_valid && absl::ascii_isxdigit(c);
    const int digit =
        absl::ascii_isdigit(c) ? c - '0' : absl::ascii_tolower(c) - 'a' + 10;
    code_point = code_point * base + static_cast<uint32_t>(digit);
  }
  const bool is_surrogate = code_point >= 0xd800 && code_point < 0xe000;
  if (!is_valid || code_point > 0x10ffff || is_surrogate) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the escape with digits '", digits, "' is no Unicode character"));
  }
  AppendUtf8(static_cast<int32_t>(code_point), out);
  return absl::OkStatus();
}

// Resolves the escape after the backslash at the front of `rest`; returns how
// many bytes of `rest` it takes, without the backslash.
absl::StatusOr<size_t> AppendEscape(absl::string_view rest, std::string* out) {
  const char letter = rest[0];
  const int simple = SimpleEscape(letter);
  if (simple >= 0) {
    out->push_back(static_cast<char>(simple));
    return 1;
  }
  if (letter == '\n') return 1;  // joins two lines
  if (letter == 'N') return absl::UnimplementedError("escape \\N{name}");
  if (letter == 'x' || letter == 'u' || letter == 'U') {
    const size_t num_digits = letter == 'x' ? 2 : letter == 'u' ? 4 : 8;
    HEADWISE_RETURN_IF_ERROR(
        AppendNumericEscape(rest.substr(1, num_digits), num_digits, 16, out));
    return 1 + num_digits;
  }
  size_t num_octal = 0;
  while (num_octal < 3 && num_octal < rest.size() && rest[num_octal] >= '0' &&
         rest[num_octal] <= '7') {
    ++num_octal;
  }
  if (num_octal > 0) {
    HEADWISE_RETURN_IF_ERROR(
        AppendNumericEscape(rest.substr(0, num_octal), num_octal, 8, out));
    return num_octal;
  }
  out->push_back('\\');  // as Python: an unknown escape stays
  return 0;
}

absl::Status ReadString(absl::string_view source, size_t offset, Token* token,
                        size_t* num_bytes) {
  const char quote = source[offset];
  size_t i = offset + 1;
  while (i < source.size() && source[i] != quote) {
    if (source[i] != '\\') {
      token->text.push_back(source[i++]);
      continue;
    }
    if (++i == source.size()) break;
    HEADWISE_ASSIGN_OR_RETURN(const size_t num_escape,
                              AppendEscape(source.substr(i), &token->text));
    i += num_escape;
  }
  if (i >= source.size()) {
    return absl::InvalidArgumentError("string without an end");
  }
  token->type = TokenType::kString;
  *num_bytes = i + 1 - offset;
  return absl::OkStatus();
}

void ReadNumber(absl::string_view source, size_t offset, Token* token,
                size_t* num_bytes) {
  *num_bytes = CountFloat(source, offset);
  token->type = TokenType::kFloat;
  if (*num_bytes == 0) {
    *num_bytes = CountInteger(source, offset);
    token->type = TokenType::kInteger;
  }
  for (const char c : source.substr(offset, *num_bytes)) {
    if (c != '_') token->text.push_back(c);
  }
}

}  // namespace

absl::StatusOr<Token> ReadExpressionToken(absl::string_view source,
                                          size_t offset, size_t* num_bytes) {
  Token token;
  const char first = source[offset];
  if (absl::ascii_isdigit(first)) {
    ReadNumber(source, offset, &token, num_bytes);
    return token;
  }
  if (IsNameByte(first)) {
    size_t end = offset;
    while (end < source.size() && IsNameByte(source[end])) ++end;
    if (end - offset > kMaxNameBytes) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "a name of ", end - offset, " bytes; at most ", kMaxNameBytes));
    }
    token.type = TokenType::kName;
    token.text = std::string(source.substr(offset, end - offset));
    *num_bytes = end - offset;
    return token;
  }
  if (first == '\'' || first == '"') {
    HEADWISE_RETURN_IF_ERROR(ReadString(source, offset, &token, num_bytes));
    return token;
  }
  for (const absl::string_view op : kOperators) {
    if (!absl::StartsWith(source.substr(offset), op)) continue;
    token.type = TokenType::kOperator;
    token.text = std::string(op);
    *num_bytes = op.size();
    return token;
  }
  const absl::string_view unexpected =
      source.substr(offset, DecodeAt(source, offset).num_bytes);
  return absl::InvalidArgumentError(
      absl::StrCat("unexpected character '", unexpected, "'"));
}

}  // namespace headwise::jinja
