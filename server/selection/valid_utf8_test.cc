#include "server/selection/valid_utf8.h"

#include <string>

#include "gtest/gtest.h"

namespace headwise {
namespace {

// A bad byte is found wherever it is within a run of eight.
TEST(ValidUtf8Test, FindsABadByteAtEveryPlace) {
  for (size_t length = 0; length < 20; ++length) {
    const std::string text(length, 'a');
    EXPECT_TRUE(IsValidUtf8(text));
    EXPECT_EQ(MendUtf8(text, "?"), text);
    for (size_t at = 0; at < length; ++at) {
      std::string bad = text;
      bad[at] = '\xff';
      EXPECT_FALSE(IsValidUtf8(bad)) << at;
      std::string mended = text;
      mended[at] = '?';
      EXPECT_EQ(MendUtf8(bad, "?"), mended);
    }
  }
}

TEST(ValidUtf8Test, KnowsWhatIsNoCharacter) {
  EXPECT_TRUE(IsValidUtf8("gr\xC3\xBC\xC3\x9F \xF0\x9F\x99\x82"));
  EXPECT_TRUE(IsValidUtf8(std::string("\0", 1)));
  EXPECT_TRUE(IsValidUtf8("\xEF\xBF\xBE"));       // U+FFFE
  EXPECT_FALSE(IsValidUtf8("\xC0\x80"));          // overlong
  EXPECT_FALSE(IsValidUtf8("\xED\xA0\x80"));      // a surrogate
  EXPECT_FALSE(IsValidUtf8("\xF4\x90\x80\x80"));  // above U+10FFFF
  EXPECT_FALSE(IsValidUtf8("abc\xE2\x82"));       // cut short
}

TEST(ValidUtf8Test, ReplacesEachBadSequenceOnce) {
  EXPECT_EQ(MendUtf8("a\xE2\x82", "?"), "a?");
  EXPECT_EQ(MendUtf8("\xE2\x82z\xFF\xFF", "--"), "--z----");
}

}  // namespace
}  // namespace headwise
