#include "model/tokenizer/nfc.h"

#include <utf8proc.h>

#include <cstdlib>
#include <random>
#include <string>

#include "gtest/gtest.h"
#include "model/tokenizer/utf8.h"

namespace headwise {
namespace {

std::string Utf8procNfc(const std::string& text) {
  utf8proc_uint8_t* mapped = nullptr;
  const auto size = utf8proc_map(
      reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
      static_cast<utf8proc_ssize_t>(text.size()), &mapped,
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  EXPECT_GE(size, 0) << text;
  const std::string normalized(reinterpret_cast<char*>(mapped), size);
  std::free(mapped);
  return normalized;
}

TEST(NfcTest, ComposesAndOrders) {
  EXPECT_EQ(NormalizeNfc("e\u0301"), "\u00E9");
  EXPECT_EQ(NormalizeNfc("\u1112\u1161\u11AB"), "한");
  EXPECT_EQ(NormalizeNfc("\u212B"), "\u00C5");        // singleton
  EXPECT_EQ(NormalizeNfc("\u0344"), "\u0308\u0301");  // excluded from composing
  EXPECT_EQ(NormalizeNfc("a\u0315\u0300"), "\u00E0\u0315");  // order, then join
  EXPECT_EQ(NormalizeNfc(""), "");
}

TEST(NfcTest, EveryCodePointAgreesWithUtf8proc) {
  for (char32_t c = 1; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text = "a";
    AppendUtf8(c, &text);
    text += "\u0301\u0327";
    ASSERT_EQ(NormalizeNfc(text), Utf8procNfc(text)) << std::hex << uint32_t{c};
  }
}

TEST(NfcTest, RandomMarksAgreeWithUtf8proc) {
  constexpr char32_t kLetters[] = {'a',    'o',    0x41,   0x1112,  0x1161,
                                   0x11AB, 0x0301, 0x0315, 0x0327,  0x0323,
                                   0x0302, 0x3099, 0x30AB, 0x1D165, 0x0345};
  constexpr unsigned kSeed = 20240611;
  std::mt19937 rng(kSeed);
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (unsigned n = rng() % 12; n > 0; --n) {
      AppendUtf8(kLetters[rng() % std::size(kLetters)], &text);
    }
    ASSERT_EQ(NormalizeNfc(text), Utf8procNfc(text)) << "seed " << kSeed;
  }
}

TEST(NfcTest, KeepsBadBytesInPlace) {
  EXPECT_EQ(NormalizeNfc("e\xFF\u0301"), "e\xFF\u0301");
  EXPECT_EQ(NormalizeNfc("e\u0301\xE2\x82"), "\u00E9\xE2\x82");
  EXPECT_EQ(NormalizeNfc("\x80"
                         "e\u0301\x80"),
            "\x80\u00E9\x80");
}

// 2^20 marks in the worst order: an exchange sort would need 2^38 steps and
// not end within this test's time limit.
TEST(NfcTest, LongRunOfMarksIsNoBomb) {
  constexpr int kPairs = 1 << 19;
  std::string text = "x";
  std::string ordered = "x";
  for (int i = 0; i < kPairs; ++i) text += "\u0301\u0327";  // classes 230, 202
  for (int i = 0; i < kPairs; ++i) ordered += "\u0327";
  for (int i = 0; i < kPairs; ++i) ordered += "\u0301";
  EXPECT_TRUE(NormalizeNfc(text) == ordered);
}

}  // namespace
}  // namespace headwise
