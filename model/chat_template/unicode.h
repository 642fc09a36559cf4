// Text as Python sees it: UTF-8 bytes taken as a list of code points.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_UNICODE_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_UNICODE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace headwise::jinja {

// One code point and the bytes that it took. A byte that begins no valid
// sequence is taken alone, with `code_point` -1.
struct Decoded {
  int32_t code_point = -1;
  int num_bytes = 1;
};

// Requires offset < text.size().
Decoded DecodeAt(absl::string_view text, size_t offset);

// Offset of the first byte that is not UTF-8, or nullopt if all is.
std::optional<size_t> FindInvalidUtf8(absl::string_view text);

// Requires a code point that is no surrogate.
void AppendUtf8(int32_t code_point, std::string* out);

int64_t CountCodePoints(absl::string_view text);

// Byte offset of each code point, and text.size() at the end.
std::vector<size_t> CodePointOffsets(absl::string_view text);

// str.isspace, str.isprintable, and what str.title() calls cased.
bool IsSpace(int32_t code_point);
bool IsPrintable(int32_t code_point);
bool IsCased(int32_t code_point);

// str.upper, str.lower; the title case of one code point.
std::string ToUpper(absl::string_view text);
std::string ToLower(absl::string_view text);
// str.capitalize, str.title.
std::string Capitalize(absl::string_view text);
std::string ToTitle(absl::string_view text);

// str.strip(chars): `chars` nullopt strips white space.
absl::string_view StripLeft(absl::string_view text,
                            std::optional<absl::string_view> chars);
absl::string_view StripRight(absl::string_view text,
                             std::optional<absl::string_view> chars);

// Takes the first line off the front, with its end, and returns it without; the
// lines are those of str.splitlines(). Requires that `*text` is not empty.
absl::string_view TakeLine(absl::string_view* text);

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_UNICODE_H_
