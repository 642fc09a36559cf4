#include "model/chat_template/number_text.h"

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "model/chat_template/unicode.h"

namespace headwise::jinja {
namespace {

// Without white space around it and without '_' between digits; empty if it has
// one elsewhere, which makes it no number.
std::string Clean(absl::string_view text) {
  text = StripLeft(StripRight(text, std::nullopt), std::nullopt);
  std::string clean;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      clean.push_back(text[i]);
    } else if (i == 0 || i + 1 == text.size() ||
               !absl::ascii_isdigit(text[i - 1]) ||
               !absl::ascii_isdigit(text[i + 1])) {
      return "";
    }
  }
  return clean;
}

}  // namespace

absl::StatusOr<std::optional<int64_t>> ParseInteger(absl::string_view text) {
  const std::string clean = Clean(text);
  absl::string_view digits = clean;
  if (!digits.empty() && (digits[0] == '-' || digits[0] == '+')) {
    digits.remove_prefix(1);
  }
  if (digits.empty() ||
      digits.find_first_not_of("0123456789") != absl::string_view::npos) {
    return std::nullopt;
  }
  int64_t value = 0;
  if (!absl::SimpleAtoi(clean, &value)) {
    return absl::UnimplementedError(
        absl::StrCat("integer ", clean.substr(0, 40), " beyond 64 bits"));
  }
  return value;
}

std::optional<double> ParseFloat(absl::string_view text) {
  const std::string clean = Clean(text);
  // SimpleAtod also reads hexadecimal and "nan(...)", which float() doesn't.
  if (clean.find_first_of("xX(") != std::string::npos) return std::nullopt;
  double value = 0;
  if (!absl::SimpleAtod(clean, &value)) return std::nullopt;
  return value;
}

}  // namespace headwise::jinja
