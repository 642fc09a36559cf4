#include "model/chat_template/parser.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/chat_template/limits.h"

namespace headwise::jinja {
namespace {

using testing::HasSubstr;

std::string Repeat(absl::string_view piece, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) absl::StrAppend(&text, piece);
  return text;
}

void ExpectError(absl::string_view source, absl::StatusCode code,
                 absl::string_view message) {
  SCOPED_TRACE(std::string(source.substr(0, 100)));
  const absl::Status status = Parse(source).status();
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(message)));
}

TEST(ParserTest, UnknownConstructsAreNamedWithTheirPlace) {
  constexpr auto kCode = absl::StatusCode::kUnimplemented;
  ExpectError("a\n  {% include 'x' %}", kCode,
              "line 2, column 6: statement 'include'");
  ExpectError("{% call m() %}{% endcall %}", kCode, "statement 'call'");
  ExpectError("{% do x.y() %}", kCode, "column 4: statement 'do'");
  ExpectError("{{ x | wordwrap(3) }}", kCode, "column 8: filter 'wordwrap'");
  ExpectError("{% filter nope %}{% endfilter %}", kCode, "filter 'nope'");
  ExpectError("{{ x is nope }}", kCode, "column 9: test 'nope'");
  ExpectError("{% for x in y recursive %}{% endfor %}", kCode,
              "recursive loops");
  ExpectError("{{ f(*x) }}", kCode, "* and ** in a call");
  ExpectError("{{ f(**x) }}", kCode, "* and ** in a call");
  ExpectError("{{ x[1, 2] }}", kCode, "several subscripts");
  ExpectError("{{ 9223372036854775808 }}", kCode,
              "integer 9223372036854775808 beyond 64 bits");
  ExpectError("{% macro m() %}{{ caller() }}{% endmacro %}", kCode,
              "'caller' in a macro");
  ExpectError("{% macro m() %}{{ varargs }}{% endmacro %}", kCode, "varargs");
}

TEST(ParserTest, ImplicitMacroNamesMayBeParametersOrStandOutside) {
  EXPECT_TRUE(Parse("{% macro m(kwargs) %}{{ kwargs }}{% endmacro %}").ok());
  EXPECT_TRUE(Parse("{{ caller }}").ok());
}

TEST(ParserTest, SyntaxErrorsSayWhatWasExpectedAndWhere) {
  constexpr auto kCode = absl::StatusCode::kInvalidArgument;
  ExpectError("{% if x %}\n{{ y }", kCode, "line 2, column 6");
  ExpectError("{% if x %}", kCode, "expected '{% endif %}', found end");
  ExpectError("{% for x in y %}{% else %}", kCode, "'{% endfor %}'");
  ExpectError("{% endif %}", kCode, "the name of a statement, found 'endif'");
  ExpectError("{% if x %}{% else %}{% elif y %}{% endif %}", kCode, "'elif'");
  ExpectError("{% 1 %}", kCode, "the name of a statement, found '1'");
  ExpectError("{{ a b }}", kCode, "expected '}}', found 'b'");
  ExpectError("{{ a. }}", kCode, "expected a name or an integer");
  ExpectError("{{ a[] }}", kCode, "a subscript");
  ExpectError("{{ [1 2] }}", kCode, "expected ','");
  ExpectError("{{ {1} }}", kCode, "expected ':'");
  ExpectError("{{ f(a=1, 2) }}", kCode, "a named argument");
  ExpectError("{% break %}", kCode, "a loop around it");
  ExpectError("{% for x in y %}{% macro m() %}{% continue %}", kCode,
              "a loop around it");
  ExpectError("{% for a.b in c %}{% endfor %}", kCode, "'in'");
  ExpectError("{% set none = 1 %}", kCode, "can't assign to 'none'");
  ExpectError("{% macro m(a=1, b) %}", kCode, "a default");
  ExpectError("{{ 1 is odd is even }}", kCode, "no second 'is'");
}

TEST(ParserTest, NestingIsBounded) {
  constexpr auto kCode = absl::StatusCode::kResourceExhausted;
  constexpr int kMany = 20'000;
  struct Brackets {
    const char* open;
    const char* close;
  };
  for (const Brackets& brackets :
       {Brackets{"(", ")"}, Brackets{"[", "]"}, Brackets{"{1:", "}"},
        Brackets{"not ", ""}, Brackets{"-", ""}, Brackets{"f(", ")"},
        Brackets{"f(a=", ")"}, Brackets{"a[", "]"}, Brackets{"a[:", "]"},
        Brackets{"x|d(", ")"}, Brackets{"1 if 1 else ", ""},
        Brackets{"1 is eq(", ")"}}) {
    ExpectError("{{ " + Repeat(brackets.open, kMany) + "1" +
                    Repeat(brackets.close, kMany) + " }}",
                kCode, "nested deeper than 200");
  }
  for (const char* link : {".a", "[0]", "()", "|trim", " + 1", " ** 1"}) {
    ExpectError("{{ a" + Repeat(link, kMany) + " }}", kCode,
                "nested deeper than 200");
  }
  for (const char* tag :
       {"{% if 1 %}", "{% for a in b %}", "{% macro m() %}", "{% set a %}",
        "{% with %}", "{% filter trim %}", "{% generation %}"}) {
    ExpectError(Repeat(tag, kMany), kCode, "nested deeper than 200");
  }
  ExpectError(
      "{% set " + Repeat("(", kMany) + "a" + Repeat(")", kMany) + " = 1 %}",
      kCode, "nested deeper than 200");
}

TEST(ParserTest, ListsAndChainsMayBeLong) {
  constexpr int kMany = 20'000;
  EXPECT_TRUE(Parse("{{ [" + Repeat("1,", kMany) + "] }}").ok());
  EXPECT_TRUE(Parse("{{ a" + Repeat(" ~ a", kMany) + " }}").ok());
  EXPECT_TRUE(Parse("{{ a" + Repeat(" and a", kMany) + " }}").ok());
  EXPECT_TRUE(
      Parse("{% if a %}" + Repeat("{% elif a %}", kMany) + "{% endif %}").ok());
  EXPECT_TRUE(Parse(Repeat("{% if a %}{% endif %}", kMany)).ok());
}

TEST(ParserTest, DepthJustBelowTheBoundIsTaken) {
  const int num_brackets = kMaxNesting - 2;  // the body and the element
  EXPECT_TRUE(Parse("{{ " + Repeat("[", num_brackets) + "1" +
                    Repeat("]", num_brackets) + " }}")
                  .ok());
  ExpectError("{{ " + Repeat("[", num_brackets + 1) + "1" +
                  Repeat("]", num_brackets + 1) + " }}",
              absl::StatusCode::kResourceExhausted, "nested deeper than 200");
}

}  // namespace
}  // namespace headwise::jinja
