#include "model/chat_template/chat_template.h"

#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/model.h"
#include "nlohmann/json.hpp"

namespace headwise {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;

std::unique_ptr<ChatTemplate> ParseOrDie(absl::string_view source) {
  auto parsed = ChatTemplate::Parse(source);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return parsed.ok() ? *std::move(parsed) : nullptr;
}

absl::StatusOr<std::string> RenderSource(absl::string_view source,
                                         const Json& variables) {
  return ParseOrDie(source)->RenderJson(variables);
}

std::string ModelPath() {
  const char* path = std::getenv("HEADWISE_MODEL");
  return path != nullptr && *path != '\0' ? path
                                          : HEADWISE_SOURCE_DIR
             "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

// The template is the one that the model's own file carries; the texts are what
// transformers rendered.
TEST(ChatTemplateTest, SmolLm2TemplateRendersTheGoldenPrompts) {
  const auto model = Model::Open(ModelPath());
  ASSERT_TRUE(model.ok()) << "the model is missing; scripts install it: "
                          << model.status();
  const auto parsed = ChatTemplate::Parse((*model)->chat_template());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  std::ifstream file(HEADWISE_SOURCE_DIR "/tests/golden/chat.json");
  const Json cases = Json::parse(file);
  ASSERT_GE(cases.size(), 3u);
  for (const Json& entry : cases) {
    const auto text =
        (*parsed)->Render({{"user", entry["prompt"].get<std::string>()}},
                          /*add_generation_prompt=*/true, "", "<|im_end|>");
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_EQ(*text, entry["rendered"].get<std::string>());
  }
}

TEST(ChatTemplateTest, RenderPassesMessagesPromptAndTokens) {
  const auto chat = ParseOrDie(
      "{{ bos_token }}{% for m in messages %}[{{ m.role }}:{{ m['content'] }}]"
      "{% endfor %}{{ eos_token }}{{ add_generation_prompt }}");
  const auto text =
      chat->Render({{"system", "a"}, {"user", "b\n"}}, true, "<s>", "</s>");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "<s>[system:a][user:b\n]</s>True");
  const auto none = chat->Render({}, false, "", "");
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_EQ(*none, "False");
}

TEST(ChatTemplateTest, EmptyTemplateRendersNothing) {
  const auto text = RenderSource("", Json::object());
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*text, "");
}

TEST(ChatTemplateTest, RaisedMessageIsTheWholeError) {
  const auto text = RenderSource(
      "\n{% if true %}{{ raise_exception('only ' ~ 2 ~ ' roles') }}{% endif %}",
      Json::object());
  EXPECT_EQ(text.status(), absl::InvalidArgumentError("only 2 roles"));
  const auto in_macro = RenderSource(
      "{% macro m() %}{{ raise_exception('x') }}{% endmacro %}{{ m() }}",
      Json::object());
  EXPECT_EQ(in_macro.status(), absl::InvalidArgumentError("x"));
}

TEST(ChatTemplateTest, ErrorsNameTheInnermostPlace) {
  const auto text = RenderSource(
      "a\n{% for x in [1] %}\n  {{ x + 'b' }}"
      "{% endfor %}",
      Json::object());
  EXPECT_EQ(text.status(),
            absl::InvalidArgumentError(
                "chat template, line 3, column 8: unsupported operand types "
                "for +: 'int' and 'str'"));
  const auto undefined =
      RenderSource("{{ messages[0]['role'] }}", Json::object());
  EXPECT_EQ(undefined.status(),
            absl::InvalidArgumentError("chat template, line 1, column 12: "
                                       "'messages' is undefined"));
}

TEST(ChatTemplateTest, WhatPythonHasAndWeLackIsUnimplementedByName) {
  for (const auto& [source, name] :
       std::vector<std::pair<const char*, const char*>>{
           {"{{ 'a'.zfill(3) }}", "method 'zfill' of str"},
           {"{{ {}.fromkeys([]) }}", "method 'fromkeys' of dict"},
           {"{{ (1).bit_length() }}", "method 'bit_length' of int"},
           {"{{ cycler('a') }}", "function 'cycler'"},
           {"{{ lipsum() }}", "function 'lipsum'"},
           {"{% for x in [1] %}{{ loop.changed(x) }}{% endfor %}",
            "loop.changed"},
           {"{% for x in [1] %}{{ loop(x) }}{% endfor %}", "recursive loops"},
           {"{% set n = namespace() %}{% for x in [1] %}{% set n.l = loop %}"
            "{% endfor %}{{ n.l.index }}",
            "'loop' after the end"},
           {"{{ '%e' % 1 }}", "format conversion '%e'"},
           {"{{ '{:>3}'.format(1) }}", "format field '{:>3}'"},
           {"{{ strftime_now('%U') }}", "strftime_now conversion '%U'"},
           {"{{ 2 ** 64 }}", "beyond 64 bits"},
           {"{{ 9223372036854775807 + 1 }}", "beyond 64 bits"},
           {"{{ -(-9223372036854775807 - 1) }}", "beyond 64 bits"},
           {"{{ (-9223372036854775807 - 1) // -1 }}", "beyond 64 bits"},
           {"{{ '99999999999999999999'|int }}", "beyond 64 bits"},
           {"{{ (-1) ** 0.5 }}", "complex"},
           {"{{ 1|round(-1) }}", "round to -1 digits"},
           {"{{ '7'|int(0, 16) }}", "int with base 16"},
           {"{{ [1]|map('select') }}", "filter 'select' inside of map"},
           {"{{ [1]|map('center')|list }}", "filter 'center'"},
           {"{{ [1]|select('nope')|list }}", "test 'nope'"},
           {"{{ 'a'.splitlines(true) }}", "keepends"},
           {"{{ ('a'|safe).upper() }}", "marked safe"},
           {"{{ namespace() }}", "printing a Namespace"},
           {"{{ {}.items() }}", "printing a dict view"}}) {
    SCOPED_TRACE(source);
    const auto text = RenderSource(source, Json::object());
    EXPECT_EQ(text.status().code(), absl::StatusCode::kUnimplemented)
        << text.status();
    EXPECT_THAT(std::string(text.status().message()), HasSubstr(name));
    EXPECT_THAT(std::string(text.status().message()),
                HasSubstr("chat template, line 1, column "));
  }
}

TEST(ChatTemplateTest, ObjectsKeepTheOrderOfTheirKeys) {
  const Json variables =
      Json::parse(R"({"t": {"z": 1, "a": {"y": 2, "b": 3}}})");
  const auto text = RenderSource("{{ t | tojson }} {{ t }}", variables);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(
      *text,
      R"({"z": 1, "a": {"y": 2, "b": 3}} {'z': 1, 'a': {'y': 2, 'b': 3}})");
}

// Jinja loses what such a macro refers to; here it stays.
TEST(ChatTemplateTest, MacroMayOutliveTheScopeThatItWasDefinedIn) {
  const auto text = RenderSource(
      "{% set ns = namespace() %}{% for x in [1, 2] %}{% with y = x * 10 %}"
      "{% macro m() %}{{ x }}-{{ y }};{% endmacro %}"
      "{% if loop.first %}{% set ns.m = m %}{% endif %}{% endwith %}"
      "{% endfor %}{% for z in 'abc' %}{{ ns.m() }}{% endfor %}",
      Json::object());
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "1-10;1-10;1-10;");
}

TEST(ChatTemplateTest, OneTemplateServesSeveralThreads) {
  const auto chat = ParseOrDie(
      "{% macro m(x) %}<{{ x }}>{% endmacro %}{% set ns = namespace(n=0) %}"
      "{% for x in xs %}{% set ns.n = ns.n + x %}{{ m(ns.n) }}{% endfor %}");
  const Json variables = {{"xs", {1, 2, 3}}};
  std::vector<std::string> texts(4);
  {
    std::vector<std::thread> threads;
    for (std::string& text : texts) {
      threads.emplace_back([&] {
        for (int i = 0; i < 100; ++i) {
          text = chat->RenderJson(variables).value_or("error");
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_THAT(texts, testing::Each("<1><3><6>"));
}

}  // namespace
}  // namespace headwise
