#include "model/chat_template/unicode.h"

#include <utf8proc.h>

namespace headwise::jinja {
namespace {

constexpr int32_t kLineSeparator = 0x2028;
constexpr int32_t kParagraphSeparator = 0x2029;

bool IsLineEnd(int32_t c) {
  return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 ||
         c == kLineSeparator || c == kParagraphSeparator;
}

bool IsStripped(absl::string_view piece,
                std::optional<absl::string_view> chars) {
  const Decoded decoded = DecodeAt(piece, 0);
  if (!chars.has_value()) return IsSpace(decoded.code_point);
  // A whole code point is found in UTF-8 at code point borders only.
  return chars->find(piece) != absl::string_view::npos;
}

}  // namespace

Decoded DecodeAt(absl::string_view text, size_t offset) {
  int32_t code_point = -1;
  const utf8proc_ssize_t num_bytes = utf8proc_iterate(
      reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + offset,
      static_cast<utf8proc_ssize_t>(text.size() - offset), &code_point);
  if (num_bytes <= 0) return {};
  return {code_point, static_cast<int>(num_bytes)};
}

std::optional<size_t> FindInvalidUtf8(absl::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const Decoded decoded = DecodeAt(text, i);
    if (decoded.code_point < 0) return i;
    i += decoded.num_bytes;
  }
  return std::nullopt;
}

void AppendUtf8(int32_t code_point, std::string* out) {
  utf8proc_uint8_t bytes[4];
  const utf8proc_ssize_t n = utf8proc_encode_char(code_point, bytes);
  out->append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(n));
}

int64_t CountCodePoints(absl::string_view text) {
  int64_t count = 0;
  for (size_t i = 0; i < text.size(); ++count) {
    i += DecodeAt(text, i).num_bytes;
  }
  return count;
}

std::vector<size_t> CodePointOffsets(absl::string_view text) {
  std::vector<size_t> offsets;
  offsets.reserve(text.size() + 1);
  for (size_t i = 0; i < text.size();) {
    offsets.push_back(i);
    i += DecodeAt(text, i).num_bytes;
  }
  offsets.push_back(text.size());
  return offsets;
}

bool IsSpace(int32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 ||
         c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
         c == kLineSeparator || c == kParagraphSeparator || c == 0x202f ||
         c == 0x205f || c == 0x3000;
}

bool IsPrintable(int32_t code_point) {
  if (code_point == ' ') return true;
  switch (utf8proc_category(code_point)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}

absl::string_view StripLeft(absl::string_view text,
                            std::optional<absl::string_view> chars) {
  while (!text.empty()) {
    const int num_bytes = DecodeAt(text, 0).num_bytes;
    if (!IsStripped(text.substr(0, num_bytes), chars)) break;
    text.remove_prefix(num_bytes);
  }
  return text;
}

absl::string_view StripRight(absl::string_view text,
                             std::optional<absl::string_view> chars) {
  while (!text.empty()) {
    // Back to the byte that begins the last code point; four bytes at most.
    size_t begin = text.size() - 1;
    while (begin > 0 && text.size() - begin < 4 &&
           (static_cast<uint8_t>(text[begin]) & 0xc0) == 0x80) {
      --begin;
    }
    if (begin + DecodeAt(text, begin).num_bytes != text.size()) {
      begin = text.size() - 1;  // a stray byte stands alone
    }
    if (!IsStripped(text.substr(begin), chars)) break;
    text = text.substr(0, begin);
  }
  return text;
}

absl::string_view TakeLine(absl::string_view* text) {
  size_t end = 0;
  while (end < text->size()) {
    const Decoded decoded = DecodeAt(*text, end);
    if (!IsLineEnd(decoded.code_point)) {
      end += decoded.num_bytes;
      continue;
    }
    const absl::string_view line = text->substr(0, end);
    text->remove_prefix(end + decoded.num_bytes);
    const bool is_pair =
        decoded.code_point == '\r' && !text->empty() && text->front() == '\n';
    if (is_pair) text->remove_prefix(1);
    return line;
  }
  const absl::string_view line = *text;
  *text = {};
  return line;
}

}  // namespace headwise::jinja
