#include "server/selection/valid_utf8.h"

#include <cstdint>
#include <cstring>

#include "model/tokenizer/utf8.h"

namespace headwise {
namespace {

// Length of the longest prefix of whole, valid characters.
size_t ValidPrefix(absl::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    // Eight ASCII characters at a time: most of a corpus is ASCII.
    uint64_t eight;
    if (at + sizeof(eight) <= text.size()) {
      std::memcpy(&eight, text.data() + at, sizeof(eight));
      if ((eight & 0x8080808080808080u) == 0) {
        at += sizeof(eight);
        continue;
      }
    }
    const Utf8Char next = DecodeUtf8(text.substr(at));
    if (next.state != Utf8State::kValid) return at;
    at += next.size;
  }
  return at;
}

}  // namespace

bool IsValidUtf8(absl::string_view text) {
  return ValidPrefix(text) == text.size();
}

std::string MendUtf8(absl::string_view text, absl::string_view replacement) {
  std::string mended;
  mended.reserve(text.size());
  while (true) {
    const size_t valid = ValidPrefix(text);
    mended.append(text.data(), valid);
    text.remove_prefix(valid);
    if (text.empty()) return mended;
    mended.append(replacement.data(), replacement.size());
    text.remove_prefix(DecodeUtf8(text).size);
  }
}

}  // namespace headwise
