#include "model/tokenizer/byte_alphabet.h"

#include <array>

#include "model/tokenizer/utf8.h"

namespace headwise {
namespace {

constexpr int kFirstMoved = 0x100;
constexpr int kNumMoved = 68;

struct Alphabet {
  std::array<std::string, 256> characters;
  std::array<int, kFirstMoved + kNumMoved> bytes;  // by code point; -1: none
};

bool IsPrintable(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

const Alphabet& GetAlphabet() {
  static const auto* const alphabet = [] {
    auto* built = new Alphabet;
    built->bytes.fill(-1);
    char32_t next_moved = kFirstMoved;
    for (int byte = 0; byte < 256; ++byte) {
      const char32_t code_point =
          IsPrintable(byte) ? static_cast<char32_t>(byte) : next_moved++;
      AppendUtf8(code_point, &built->characters[byte]);
      built->bytes[code_point] = byte;
    }
    return built;
  }();
  return *alphabet;
}

}  // namespace

absl::string_view ByteToAlphabet(uint8_t byte) {
  return GetAlphabet().characters[byte];
}

std::string AlphabetToBytes(absl::string_view text) {
  const Alphabet& alphabet = GetAlphabet();
  std::string bytes;
  bytes.reserve(text.size());
  while (!text.empty()) {
    const Utf8Char next = DecodeUtf8(text);
    const bool known = next.state == Utf8State::kValid &&
                       next.code_point < alphabet.bytes.size() &&
                       alphabet.bytes[next.code_point] >= 0;
    if (known) {
      bytes.push_back(static_cast<char>(alphabet.bytes[next.code_point]));
    } else {
      bytes.append(text.data(), next.size);
    }
    text.remove_prefix(next.size);
  }
  return bytes;
}

}  // namespace headwise
