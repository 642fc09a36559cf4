#include "model/chat_template/lexer.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/chat_template/limits.h"

namespace headwise::jinja {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// "type:text@line:column" for each token but the end.
std::vector<std::string> Tokens(absl::string_view source) {
  const absl::StatusOr<std::vector<Token>> tokens = Tokenize(source);
  EXPECT_TRUE(tokens.ok()) << tokens.status();
  std::vector<std::string> names;
  if (!tokens.ok()) return names;
  constexpr const char* kTypes[] = {"text", "{{",  "}}",    "{%", "%}", "name",
                                    "str",  "int", "float", "op", "end"};
  for (const Token& token : *tokens) {
    if (token.type == TokenType::kEnd) break;
    names.push_back(absl::StrCat(kTypes[static_cast<int>(token.type)], ":",
                                 token.text, "@", token.position.line, ":",
                                 token.position.column));
  }
  return names;
}

std::string ErrorOf(absl::string_view source) {
  const absl::StatusOr<std::vector<Token>> tokens = Tokenize(source);
  EXPECT_EQ(tokens.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(tokens.status().message());
}

TEST(LexerTest, TokensCarryTheirPlaceInCodePoints) {
  EXPECT_THAT(Tokens("é\nñ{{ a.b }}"),
              ElementsAre("text:é\nñ@1:1", "{{:{{@2:2", "name:a@2:5",
                          "op:.@2:6", "name:b@2:7", "}}:}}@2:9"));
}

TEST(LexerTest, LineEndsBecomeNewlinesBeforeAnythingElse) {
  EXPECT_THAT(Tokens("a\r\nb\rc\n"), ElementsAre("text:a\nb\nc@1:1"));
  EXPECT_THAT(Tokens("{{ 'a\r\nb' }}\r\n"),
              ElementsAre("{{:{{@1:1", "str:a\nb@1:4", "}}:}}@2:4"));
}

TEST(LexerTest, NumbersKeepWhatTheyAre) {
  EXPECT_THAT(
      Tokens("{{ 1_0 2.5 1e3 0x_fF 0b1 0 00 x.1.2 7.x }}"),
      ElementsAre("{{:{{@1:1", "int:10@1:4", "float:2.5@1:8", "float:1e3@1:12",
                  "int:0xfF@1:16", "int:0b1@1:22", "int:0@1:26", "int:00@1:28",
                  "name:x@1:31", "op:.@1:32", "int:1@1:33", "op:.@1:34",
                  "int:2@1:35", "int:7@1:37", "op:.@1:38", "name:x@1:39",
                  "}}:}}@1:41"));
}

TEST(LexerTest, TagsEndOnlyOutsideOfBrackets) {
  EXPECT_THAT(Tokens("{{ {1:{}}}}"),
              ElementsAre("{{:{{@1:1", "op:{@1:4", "int:1@1:5", "op::@1:6",
                          "op:{@1:7", "op:}@1:8", "op:}@1:9", "}}:}}@1:10"));
}

TEST(LexerTest, ErrorsNameTheirPlace) {
  EXPECT_THAT(ErrorOf("a\n {{ ( ] }}"),
              HasSubstr("line 2, column 7: unexpected ']'"));
  EXPECT_THAT(ErrorOf("{{ a"), HasSubstr("without its end '}}'"));
  EXPECT_THAT(ErrorOf("{% a"), HasSubstr("without its end '%}'"));
  EXPECT_THAT(ErrorOf("{{ § }}"),
              HasSubstr("column 4: unexpected character '§'"));
  EXPECT_THAT(ErrorOf("{{ a ! b }}"), HasSubstr("unexpected character '!'"));
  EXPECT_THAT(ErrorOf("x {{ 'abc"), HasSubstr("column 6: string without"));
  EXPECT_THAT(ErrorOf("{{ 'a\\"), HasSubstr("string without"));
  EXPECT_THAT(ErrorOf("{# a"), HasSubstr("comment without"));
  EXPECT_THAT(ErrorOf("{% raw %}{% end %}"), HasSubstr("raw block without"));
}

TEST(LexerTest, EscapesThatAreNoCharacterAreErrors) {
  for (const char* escape :
       {"\\xg0", "\\x1", "\\ud83d", "\\U00110000", "\\u"}) {
    SCOPED_TRACE(escape);
    EXPECT_THAT(ErrorOf(absl::StrCat("{{ '", escape, "' }}")),
                HasSubstr("is no Unicode character"));
  }
  EXPECT_EQ(Tokenize("{{ '\\N{DASH}' }}").status().code(),
            absl::StatusCode::kUnimplemented);
}

TEST(LexerTest, RefusesWhatIsNotUtf8OrTooLong) {
  EXPECT_THAT(ErrorOf("ab\xff"), HasSubstr("not UTF-8 at byte 2"));
  const std::string longest(kMaxSourceBytes, 'a');
  EXPECT_TRUE(Tokenize(longest).ok());
  const absl::Status too_long = Tokenize(longest + "a").status();
  EXPECT_EQ(too_long.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(too_long.message()), HasSubstr("1048577"));
  EXPECT_THAT(std::string(too_long.message()), HasSubstr("1048576"));
}

// Each would take minutes if some byte were looked at once per tag.
TEST(LexerTest, TakesLinearTime) {
  const auto repeat = [](absl::string_view piece) {
    std::string source;
    while (source.size() + piece.size() <= kMaxSourceBytes) {
      absl::StrAppend(&source, piece);
    }
    return source;
  };
  EXPECT_TRUE(Tokenize(repeat("{{a}}\n")).ok());
  EXPECT_TRUE(Tokenize(repeat("{#a#}  ")).ok());
  EXPECT_TRUE(Tokenize(repeat("{")).status().code() !=
              absl::StatusCode::kInternal);
  EXPECT_FALSE(Tokenize("{% raw %}" + repeat("{%   endra").substr(20)).ok());
  EXPECT_FALSE(Tokenize(repeat("{% raw").substr(3)).ok());
}

}  // namespace
}  // namespace headwise::jinja
