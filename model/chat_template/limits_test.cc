// Hostile templates and variables: each ends at the bound that it runs into, by
// an error that names the bound.

#include "model/chat_template/limits.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/chat_template/chat_template.h"
#include "nlohmann/json.hpp"

namespace headwise {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;

absl::StatusOr<std::string> RenderSource(absl::string_view source,
                                         const Json& variables) {
  const auto parsed = ChatTemplate::Parse(source);
  if (!parsed.ok()) return parsed.status();
  return (*parsed)->RenderJson(variables);
}

void ExpectExhausted(absl::string_view source, absl::string_view message,
                     const Json& variables = Json::object()) {
  SCOPED_TRACE(std::string(source.substr(0, 200)));
  const absl::StatusOr<std::string> text = RenderSource(source, variables);
  EXPECT_EQ(text.status().code(), absl::StatusCode::kResourceExhausted)
      << text.status();
  EXPECT_THAT(std::string(text.status().message()),
              HasSubstr(std::string(message)));
}

// Doubles x `count` times by `{% set ns.x = double %}`.
std::string Doubling(absl::string_view start, absl::string_view twice,
                     int count, absl::string_view then) {
  return absl::StrCat("{% set ns = namespace(x=", start,
                      ") %}{% for i in range(", count,
                      ") %}{% set ns.x = ", twice, " %}{% endfor %}", then);
}

TEST(ChatTemplateLimitsTest, LoopsAndSteps) {
  ExpectExhausted(
      "{% for a in range(2000) %}{% for b in range(2000) %}{% endfor %}"
      "{% endfor %}",
      "1000000 loop iterations");
  ExpectExhausted(
      "{% for a in range(100000) %}{% if a in range(100000) and false %}"
      "{% endif %}{% endfor %}",
      "10000000 evaluation steps");
  ExpectExhausted("{{ range(100001) }}", "100000 elements");
  ExpectExhausted("{{ range(0, -9223372036854775807, -1) }}",
                  "100000 elements");
}

TEST(ChatTemplateLimitsTest, SizeOfText) {
  constexpr absl::string_view kBytes = "33554432 bytes";
  ExpectExhausted("{{ 'ab' * 100000000000000 }}", kBytes);
  ExpectExhausted("{{ 'ab' * 9223372036854775807 }}", kBytes);
  ExpectExhausted(Doubling("'a'", "ns.x + ns.x", 30, ""), kBytes);
  ExpectExhausted(Doubling("'a'", "ns.x ~ ns.x", 30, ""), kBytes);
  ExpectExhausted("{{ ('a' * 1000000)|replace('a', 'b' * 100) }}", kBytes);
  ExpectExhausted("{{ ('b' * 1000).join(range(100000)|map('string')) }}",
                  kBytes);
  ExpectExhausted(Doubling("'a'", "ns.x", 0,
                           "{{ ns.x|indent(1000000000, true) "
                           "}}"),
                  kBytes);
  ExpectExhausted(
      Doubling("['a' * 1000000]", "ns.x + ns.x", 6, "{{ ns.x|join }}"), kBytes);
  ExpectExhausted("{% set a = 'a' * 30000000 %}{{ a }}{{ a }}", kBytes);
  ExpectExhausted("{{ [1]|tojson(indent=1000000000) }}", kBytes);
  ExpectExhausted("{{ '%99999999s' % 1 }}", "width or precision above 1000");
}

TEST(ChatTemplateLimitsTest, SharedContainersCannotExplode) {
  // 2^100 elements if they are walked, 100 if they are kept.
  const std::string twice = "[ns.x, ns.x]";
  ExpectExhausted(Doubling("[]", twice, 100, "{{ ns.x }}"), "33554432 bytes");
  ExpectExhausted(Doubling("[]", twice, 100, "{{ ns.x|tojson }}"),
                  "33554432 bytes");
  ExpectExhausted(Doubling("[]", twice, 100,
                           "{% set y = ns.x %}{% set ns.x = [] %}"
                           "{% for i in range(100) %}{% set ns.x = [ns.x, ns.x]"
                           " %}{% endfor %}{{ y == ns.x }}"),
                  "evaluation steps");
  ExpectExhausted(Doubling("()", "(ns.x, ns.x)", 100, "{{ {ns.x: 1} }}"),
                  "65536 bytes as a key");
  ExpectExhausted(Doubling("[1]", "ns.x + ns.x", 60, ""), "evaluation steps");
  ExpectExhausted("{{ [1] * 9223372036854775807 }}", "evaluation steps");
}

// Many small objects: their bookkeeping takes more memory than their content.
TEST(ChatTemplateLimitsTest, NumberOfObjects) {
  constexpr absl::string_view kSteps = "evaluation steps";
  const std::string set = "{% set x = 'a' * 9000000 %}";
  ExpectExhausted(set + "{{ x|list|length }}", kSteps);
  ExpectExhausted(set + "{{ x.split('a')|length }}", kSteps);
  ExpectExhausted(set + "{{ x.rsplit('a')|length }}", kSteps);
  ExpectExhausted("{{ ('a ' * 9000000).split()|length }}", kSteps);
  ExpectExhausted("{{ ('\\n' * 9000000).splitlines()|length }}", kSteps);
  ExpectExhausted(set + "{{ x[::-1] ~ x[::-1] }}", kSteps);
  ExpectExhausted(set + "{{ x.find('b', 1) }}{{ x.find('b', 1) }}", kSteps);
}

// A call pays for the bytes of its arguments, whether it copies them or not:
// each of these would take an hour.
TEST(ChatTemplateLimitsTest, LongArguments) {
  const auto repeat = [](absl::string_view call) {
    return absl::StrCat(
        "{% set b = 'a' * 33000000 %}{% set t = (b, 1) %}{% set d = {b: 1} %}"
        "{% for i in range(1000) %}{% for j in range(1000) %}{% if ",
        call, " %}{% endif %}{% endfor %}{% endfor %}");
  };
  for (const absl::string_view call :
       {"''.find(b) > 0", "''.count(b)", "''.startswith(b)",
        "''.replace(b, '')", "''.replace('', '', 0)|replace('', b, 0)",
        "''.split(b)", "''.partition(b)", "''.removeprefix(b)",
        "'x'.removesuffix(suffix=b)", "''|default(b)", "''.startswith((b,))",
        "dict(d)", "namespace(d)"}) {
    ExpectExhausted(repeat(call), "evaluation steps");
  }
}

TEST(ChatTemplateLimitsTest, TuplesOfManyPrefixesAreNotCopied) {
  ExpectExhausted(
      "{% set t = ('a',) * 100000 %}{% for i in range(1000000) %}"
      "{% if 'b'.startswith(t) %}{% endif %}{% endfor %}",
      "100000 elements");
  ExpectExhausted(
      "{% set t = ('a',) * 100000 %}{% for i in range(100000) %}"
      "{% if 'b'.startswith(t) %}{% endif %}{% endfor %}",
      "evaluation steps");
}

// Its text alone would fit a hundred times over.
TEST(ChatTemplateLimitsTest, SortedJsonIsCharged) {
  Json many = Json::object();
  for (int i = 0; i < 2000; ++i) many[absl::StrCat(i)] = 1;
  ExpectExhausted(
      "{% for i in range(300) %}{% set x = many|tojson(sort_keys=true) %}"
      "{% endfor %}",
      "evaluation steps", {{"many", std::move(many)}});
}

TEST(ChatTemplateLimitsTest, Names) {
  const std::string longest(256, 'n');
  const auto text = RenderSource(
      absl::StrCat("{% set ", longest, " = 1 %}{{ ", longest, " }}"),
      Json::object());
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "1");
  ExpectExhausted(absl::StrCat("{% set x = namespace(", longest, "n=1) %}"),
                  "a name of 257 bytes; at most 256");
  ExpectExhausted(absl::StrCat("{{ x.", std::string(900'000, 'n'), " }}"),
                  "a name of 900000 bytes; at most 256");
}

// What lives as long as the rendering is charged as what it takes.
TEST(ChatTemplateLimitsTest, NumberOfNamespacesMacrosAndHints) {
  const auto repeat = [](absl::string_view body) {
    return absl::StrCat("{% for i in range(1000) %}{% for j in range(1000) %}",
                        body, "{% endfor %}{% endfor %}");
  };
  const std::string name(256, 'n');
  for (const std::string& body :
       {std::string("{% set x = namespace() %}{% set x = namespace() %}"),
        std::string("{% macro m() %}{% endmacro %}"),
        absl::StrCat("{% set x = ", name, " %}"),
        absl::StrCat("{% set x = j.", name, " %}"),
        std::string("{% set x = ''.find %}{% set x = ''.find %}")}) {
    ExpectExhausted(repeat(body), "evaluation steps");
  }
  ExpectExhausted(repeat(absl::StrCat("{% set x = namespace() %}{% set x.",
                                      name, " = 1 %}")),
                  "evaluation steps");
}

TEST(ChatTemplateLimitsTest, MacrosAndMessages) {
  std::string parameters = "a0";
  for (int i = 1; i <= 100; ++i) absl::StrAppend(&parameters, ", a", i);
  ExpectExhausted(absl::StrCat("{% macro m(", parameters, ") %}{% endmacro %}"),
                  "macro 'm' has more than 100 parameters");
  const auto raised =
      RenderSource("{{ raise_exception('é' * 10000) }}", Json::object());
  EXPECT_EQ(raised.status().message().size(), 4096u);
  const auto missing =
      RenderSource("{{ [][('b' * 100000)]['c'] }}", Json::object());
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_LT(missing.status().message().size(), 600u);
}

TEST(ChatTemplateLimitsTest, DepthOfValues) {
  ExpectExhausted(Doubling("[]", "[ns.x]", 1000, ""), "nested deeper than 200");
  ExpectExhausted(Doubling("[]", "{'a': ns.x}", 1000, ""),
                  "nested deeper than 200");
  Json deep = 1;
  for (int i = 0; i < 100'000; ++i) deep = Json::array({std::move(deep)});
  ExpectExhausted("", "nested deeper than 200", {{"x", std::move(deep)}});
}

TEST(ChatTemplateLimitsTest, Recursion) {
  ExpectExhausted("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
                  "macro 'm' calls nested deeper than 100");
  std::string nested = "m()";
  for (int i = 0; i < 90; ++i) nested = absl::StrCat("[", nested, "][0]");
  ExpectExhausted(
      absl::StrCat("{% macro m() %}{{ ", nested, " }}{% endmacro %}{{ m() }}"),
      "evaluation nested deeper than 1000");
}

TEST(ChatTemplateLimitsTest, CyclesThroughNamespacesEnd) {
  const auto text = RenderSource(
      "{% set a = namespace() %}{% set a.self = a %}{% set b = namespace(a=a) "
      "%}{% set a.b = b %}{{ a.self.b.a == a }}{% macro m() %}{% endmacro %}"
      "{% set a.m = m %}{% for x in [a] %}{% set a.loop = loop %}{% endfor %}",
      Json::object());
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "True");
  // A chain this long would overflow the stack if it were owned link by link.
  EXPECT_TRUE(RenderSource("{% set ns = namespace(x=none) %}{% for i in "
                           "range(100000) %}{% set ns.x = namespace(x=ns.x) %}"
                           "{% endfor %}",
                           Json::object())
                  .ok());
}

TEST(ChatTemplateLimitsTest, VariablesThatNoValueCanHold) {
  const auto status = [](const Json& variables) {
    return RenderSource("", variables).status();
  };
  EXPECT_EQ(status(Json::array()).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status({{"x", 18446744073709551615u}}).code(),
            absl::StatusCode::kUnimplemented);
  EXPECT_EQ(status({{"x", "\xff"}}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status({{"\xff", 1}}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status({{"x", 9223372036854775807}}).code(), absl::StatusCode::kOk);
}

// A conversation as long as the longest context, in one message and in many.
TEST(ChatTemplateLimitsTest, LongConversationsFit) {
  const std::string source =
      "{% for m in messages %}{% if m.content is string %}{{ '<' + m.role + '>'"
      " + m.content | trim + '\n' }}{% endif %}{% endfor %}";
  const std::string long_text(5'000'000, 'x');
  const auto one = RenderSource(
      source, {{"messages", {{{"role", "user"}, {"content", long_text}}}}});
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ(one->size(), long_text.size() + 7);
  Json messages = Json::array();
  for (int i = 0; i < 20'000; ++i) {
    messages.push_back({{"role", "user"}, {"content", "some words"}});
  }
  const auto many = RenderSource(source, {{"messages", std::move(messages)}});
  ASSERT_TRUE(many.ok()) << many.status();
  EXPECT_EQ(many->size(), 20'000u * 17);
}

}  // namespace
}  // namespace headwise
