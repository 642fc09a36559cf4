#include "model/tokenizer/utf8.h"

namespace headwise {
namespace {

// What may follow a first byte: Unicode 15, table 3-7.
struct Utf8Form {
  int32_t size;        // bytes of the whole character; 0: no such first byte
  uint8_t min_second;  // the range of the second byte; later ones are 80..BF
  uint8_t max_second;
};

Utf8Form FormOf(uint8_t first) {
  if (first < 0xC2) return {0, 0, 0};
  if (first < 0xE0) return {2, 0x80, 0xBF};
  if (first == 0xE0) return {3, 0xA0, 0xBF};  // below: overlong
  if (first == 0xED) return {3, 0x80, 0x9F};  // above: surrogates
  if (first < 0xF0) return {3, 0x80, 0xBF};
  if (first == 0xF0) return {4, 0x90, 0xBF};  // below: overlong
  if (first < 0xF4) return {4, 0x80, 0xBF};
  if (first == 0xF4) return {4, 0x80, 0x8F};  // above: beyond U+10FFFF
  return {0, 0, 0};
}

}  // namespace

Utf8Char DecodeUtf8Multibyte(absl::string_view text) {
  const auto first = static_cast<uint8_t>(text[0]);
  const Utf8Form form = FormOf(first);
  if (form.size == 0) return {};
  char32_t code_point = first & (0x7F >> form.size);
  for (int32_t i = 1; i < form.size; ++i) {
    if (i >= static_cast<int64_t>(text.size())) {
      return {kReplacementCharacter, i, Utf8State::kIncomplete};
    }
    const auto byte = static_cast<uint8_t>(text[i]);
    const uint8_t min_byte = i == 1 ? form.min_second : 0x80;
    const uint8_t max_byte = i == 1 ? form.max_second : 0xBF;
    if (byte < min_byte || byte > max_byte) {
      return {kReplacementCharacter, i, Utf8State::kInvalid};
    }
    code_point = (code_point << 6) | (byte & 0x3F);
  }
  return {code_point, form.size, Utf8State::kValid};
}

void AppendUtf8(char32_t code_point, std::string* text) {
  const auto tail = [code_point](int shift) {
    return static_cast<char>(0x80 | ((code_point >> shift) & 0x3F));
  };
  if (code_point < 0x80) {
    text->push_back(static_cast<char>(code_point));
  } else if (code_point < 0x800) {
    text->push_back(static_cast<char>(0xC0 | (code_point >> 6)));
    text->push_back(tail(0));
  } else if (code_point < 0x10000) {
    text->push_back(static_cast<char>(0xE0 | (code_point >> 12)));
    text->push_back(tail(6));
    text->push_back(tail(0));
  } else {
    text->push_back(static_cast<char>(0xF0 | (code_point >> 18)));
    text->push_back(tail(12));
    text->push_back(tail(6));
    text->push_back(tail(0));
  }
}

}  // namespace headwise
