// Text of strangers within HTML.

#ifndef HEADWISE_CLIENT_CLI_HTML_TEXT_H_
#define HEADWISE_CLIENT_CLI_HTML_TEXT_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace headwise {

// For elements and for attributes in double quotes. Bytes that are not UTF-8
// and characters that HTML doesn't allow, controls but tab and newline among
// them, become U+FFFD.
std::string EscapeHtml(absl::string_view text);

// The first max_characters, with an ellipsis if there are more. A character is
// a code point, or a byte that is not UTF-8.
std::string FirstCharacters(absl::string_view text, int64_t max_characters);

// "1,234,567"
std::string GroupedDigits(int64_t value);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_HTML_TEXT_H_
