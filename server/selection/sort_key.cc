#include "server/selection/sort_key.h"

#include "base/check.h"

namespace headwise {

void AppendBigEndian(uint64_t value, std::string& out) {
  for (int shift = 56; shift >= 0; shift -= 8) {
    out += static_cast<char>(value >> shift);
  }
}

uint64_t LoadBigEndian(absl::string_view bytes) {
  HEADWISE_CHECK(bytes.size() >= 8);
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) {
    value = value << 8 | static_cast<uint8_t>(bytes[i]);
  }
  return value;
}

void AppendDelimited(absl::string_view bytes, std::string& out) {
  while (true) {
    const size_t zero = bytes.find('\0');
    if (zero == absl::string_view::npos) break;
    out.append(bytes.data(), zero + 1);
    out += '\xff';
    bytes.remove_prefix(zero + 1);
  }
  out.append(bytes.data(), bytes.size());
  out.append(2, '\0');
}

void TakeDelimited(absl::string_view& text, std::string& bytes) {
  bytes.clear();
  while (true) {
    const size_t zero = text.find('\0');
    HEADWISE_CHECK(zero != absl::string_view::npos && zero + 1 < text.size());
    const bool is_end = text[zero + 1] == '\0';
    bytes.append(text.data(), is_end ? zero : zero + 1);
    text.remove_prefix(zero + 2);
    if (is_end) return;
  }
}

}  // namespace headwise
