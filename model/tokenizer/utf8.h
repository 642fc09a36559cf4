// UTF-8 one character at a time, over bytes that may be anything.

#ifndef HEADWISE_MODEL_TOKENIZER_UTF8_H_
#define HEADWISE_MODEL_TOKENIZER_UTF8_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace headwise {

inline constexpr char32_t kReplacementCharacter = 0xFFFD;

enum class Utf8State : uint8_t {
  kValid,       // a whole character
  kInvalid,     // no further byte can make it valid
  kIncomplete,  // the text ends inside a character that may become valid
};

struct Utf8Char {
  char32_t code_point = kReplacementCharacter;  // that one unless kValid
  // Bytes taken, >= 1. Of a bad sequence: its longest prefix that could have
  // begun a character (Unicode 15, section 3.9, "maximal subpart"), so one
  // U+FFFD stands for it.
  int32_t size = 1;
  Utf8State state = Utf8State::kInvalid;
};

// As DecodeUtf8, for a first byte >= 0x80.
Utf8Char DecodeUtf8Multibyte(absl::string_view text);

// The first character of `text`, which must not be empty. Overlong forms,
// surrogates and code points above U+10FFFF are invalid.
inline Utf8Char DecodeUtf8(absl::string_view text) {
  const auto first = static_cast<uint8_t>(text[0]);
  if (first < 0x80) return {first, 1, Utf8State::kValid};
  return DecodeUtf8Multibyte(text);
}

// Requires a Unicode scalar value.
void AppendUtf8(char32_t code_point, std::string* text);

}  // namespace headwise

#endif  // HEADWISE_MODEL_TOKENIZER_UTF8_H_
