#include "client/cli/html_text.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "model/chat_template/unicode.h"

namespace headwise {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";  // U+FFFD

bool IsAllowed(int32_t code_point) {
  if (code_point < 0x20) return code_point == '\t' || code_point == '\n';
  if (code_point >= 0x7F && code_point <= 0x9F) return false;
  const bool is_noncharacter = (code_point >= 0xFDD0 && code_point <= 0xFDEF) ||
                               (code_point & 0xFFFE) == 0xFFFE;
  return !is_noncharacter;
}

}  // namespace

std::string EscapeHtml(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t offset = 0; offset < text.size();) {
    const jinja::Decoded decoded = jinja::DecodeAt(text, offset);
    const absl::string_view bytes =
        text.substr(offset, static_cast<size_t>(decoded.num_bytes));
    offset += bytes.size();
    switch (decoded.code_point) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '\r':  // ends a line, alone or with what follows
        if (offset >= text.size() || text[offset] != '\n') out += '\n';
        break;
      default:
        absl::StrAppend(&out,
                        IsAllowed(decoded.code_point) ? bytes : kReplacement);
    }
  }
  return out;
}

std::string FirstCharacters(absl::string_view text, int64_t max_characters) {
  size_t offset = 0;
  for (int64_t i = 0; i < max_characters && offset < text.size(); ++i) {
    offset += static_cast<size_t>(jinja::DecodeAt(text, offset).num_bytes);
  }
  return absl::StrCat(text.substr(0, offset),
                      offset < text.size() ? "\xE2\x80\xA6" : "");
}

std::string GroupedDigits(int64_t value) {
  std::string digits = absl::StrCat(value);
  const size_t first = value < 0 ? 1 : 0;
  for (size_t end = digits.size(); end > first + 3; end -= 3) {
    digits.insert(end - 3, ",");
  }
  return digits;
}

}  // namespace headwise
