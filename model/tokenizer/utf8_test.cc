#include "model/tokenizer/utf8.h"

#include <utf8proc.h>

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

TEST(Utf8Test, EveryScalarValueComesBack) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    AppendUtf8(c, &text);
    const Utf8Char decoded = DecodeUtf8(text + "x");
    ASSERT_EQ(decoded.state, Utf8State::kValid) << std::hex << uint32_t{c};
    ASSERT_EQ(decoded.code_point, c);
    ASSERT_EQ(decoded.size, static_cast<int32_t>(text.size()));
  }
}

// utf8proc decides what is valid; it does not tell incomplete from invalid.
TEST(Utf8Test, AgreesWithUtf8procOnEveryThreeByteText) {
  for (uint32_t bits = 0; bits < (1u << 24); ++bits) {
    if ((bits >> 16) < 0x80) continue;
    const char text[3] = {static_cast<char>(bits >> 16),
                          static_cast<char>(bits >> 8),
                          static_cast<char>(bits)};
    const Utf8Char decoded = DecodeUtf8(absl::string_view(text, 3));
    utf8proc_int32_t expected = -1;
    const auto size = utf8proc_iterate(
        reinterpret_cast<const utf8proc_uint8_t*>(text), 3, &expected);
    if (size > 0) {
      ASSERT_EQ(decoded.state, Utf8State::kValid) << bits;
      ASSERT_EQ(decoded.code_point, static_cast<char32_t>(expected)) << bits;
      ASSERT_EQ(decoded.size, size) << bits;
    } else {
      ASSERT_NE(decoded.state, Utf8State::kValid) << bits;
      ASSERT_EQ(decoded.code_point, kReplacementCharacter) << bits;
    }
  }
}

TEST(Utf8Test, EveryCutCharacterIsIncomplete) {
  for (const std::string whole : {"é", "€", "한", "\U0001F642", "\U0010FFFF"}) {
    for (size_t size = 1; size < whole.size(); ++size) {
      const Utf8Char decoded = DecodeUtf8(whole.substr(0, size));
      EXPECT_EQ(decoded.state, Utf8State::kIncomplete) << whole << size;
      EXPECT_EQ(decoded.size, static_cast<int32_t>(size));
      // Followed by something else it can no longer become valid.
      EXPECT_EQ(DecodeUtf8(whole.substr(0, size) + "x").state,
                Utf8State::kInvalid);
    }
  }
}

// The example of Unicode 15, table 3-8: one U+FFFD for each maximal subpart.
TEST(Utf8Test, CutsBadTextIntoMaximalSubparts) {
  absl::string_view rest(
      "a\xF1\x80\x80\xE1\x80\xC2"
      "b\x80"
      "c\x80\xBF"
      "d");
  std::vector<int32_t> sizes;
  while (!rest.empty()) {
    sizes.push_back(DecodeUtf8(rest).size);
    rest.remove_prefix(sizes.back());
  }
  EXPECT_THAT(sizes, testing::ElementsAre(1, 3, 2, 1, 1, 1, 1, 1, 1, 1));
}

TEST(Utf8Test, RefusesOverlongSurrogateAndTooLarge) {
  for (const char* text :
       {"\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80",
        "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF"}) {
    const Utf8Char decoded = DecodeUtf8(text);
    EXPECT_EQ(decoded.state, Utf8State::kInvalid) << text;
    EXPECT_EQ(decoded.size, 1) << text;
  }
}

}  // namespace
}  // namespace headwise
