// Tokens that stand for one byte: "<0x00>" to "<0xFF>".

#ifndef HEADWISE_MODEL_FILES_BYTE_TOKENS_H_
#define HEADWISE_MODEL_FILES_BYTE_TOKENS_H_

#include <cstdint>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"

namespace headwise {

// nullopt unless `text` is exactly "<0x", two hexadecimal digits, ">". Number
// parsers take "-1" or " 1" for hexadecimal as well; a file may hold that.
inline std::optional<uint8_t> ByteOfToken(absl::string_view text) {
  if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>' ||
      !absl::ascii_isxdigit(text[3]) || !absl::ascii_isxdigit(text[4])) {
    return std::nullopt;
  }
  const auto digit = [](char c) {
    return absl::ascii_isdigit(c) ? c - '0' : absl::ascii_tolower(c) - 'a' + 10;
  };
  return static_cast<uint8_t>(digit(text[3]) * 16 + digit(text[4]));
}

}  // namespace headwise

#endif  // HEADWISE_MODEL_FILES_BYTE_TOKENS_H_
