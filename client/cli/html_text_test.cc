#include "client/cli/html_text.h"

#include <cstdint>
#include <limits>

#include "gtest/gtest.h"

namespace headwise {
namespace {

TEST(HtmlTextTest, WhatMeansSomethingInHtmlIsEscaped) {
  EXPECT_EQ(EscapeHtml("<a href=\"x\" title='y'>1 & 2</a>"),
            "&lt;a href=&quot;x&quot; title=&#39;y&#39;&gt;1 &amp; "
            "2&lt;/a&gt;");
  EXPECT_EQ(EscapeHtml("&amp;"), "&amp;amp;");
  EXPECT_EQ(EscapeHtml("caf\u00e9 \u4e2d \U0001F600\t\n"),
            "caf\u00e9 \u4e2d \U0001F600\t\n");
  EXPECT_EQ(EscapeHtml(""), "");
}

TEST(HtmlTextTest, WhatHtmlDoesNotAllowIsReplaced) {
  const std::string nul(1, '\0');
  EXPECT_EQ(EscapeHtml("a" + nul + "\x1b\x7f\u0085\ufffe\ufdd0" + "b"),
            "a\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd"
            "b");
  EXPECT_EQ(EscapeHtml("\xff<\xe4\xb8"), "\ufffd&lt;\ufffd\ufffd");
}

TEST(HtmlTextTest, LinesEndAsInHtml) {
  EXPECT_EQ(EscapeHtml("a\r\nb\rc\nd\r"), "a\nb\nc\nd\n");
}

TEST(HtmlTextTest, TextIsCutBetweenCharacters) {
  EXPECT_EQ(FirstCharacters("\u4e2d\u4e2d\u4e2d", 2), "\u4e2d\u4e2d\u2026");
  EXPECT_EQ(FirstCharacters("\u4e2d\u4e2d", 2), "\u4e2d\u4e2d");
  EXPECT_EQ(FirstCharacters("\xff\xfe"
                            "a",
                            2),
            "\xff\xfe\u2026");
  EXPECT_EQ(FirstCharacters("", 2), "");
  EXPECT_EQ(FirstCharacters("a", 0), "\u2026");
}

TEST(HtmlTextTest, DigitsStandInThrees) {
  EXPECT_EQ(GroupedDigits(0), "0");
  EXPECT_EQ(GroupedDigits(999), "999");
  EXPECT_EQ(GroupedDigits(1000), "1,000");
  EXPECT_EQ(GroupedDigits(-123456), "-123,456");
  EXPECT_EQ(GroupedDigits(std::numeric_limits<int64_t>::min()),
            "-9,223,372,036,854,775,808");
}

}  // namespace
}  // namespace headwise
