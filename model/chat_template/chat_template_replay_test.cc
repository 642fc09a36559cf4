// Replays what Jinja2 itself made of many templates:
// tests/golden/chat_template_cases.json, by make_chat_template_cases.py there.

#include <fstream>
#include <string>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/chat_template/chat_template.h"
#include "model/chat_template/interpreter.h"
#include "model/chat_template/value_text.h"
#include "nlohmann/json.hpp"

namespace headwise {
namespace {

using Json = nlohmann::ordered_json;

// The script's clock: 2024-07-26 12:04:05 UTC.
constexpr int64_t kNowSeconds = 1721995445;

Json ReadCases() {
  const std::string path =
      HEADWISE_SOURCE_DIR "/tests/golden/chat_template_cases.json";
  std::ifstream file(path);
  EXPECT_TRUE(file.good()) << path << " is missing";
  return Json::parse(file);
}

const Json& Cases() {
  static const Json* const cases = new Json(ReadCases());
  return *cases;
}

absl::StatusOr<std::string> RenderAtFixedTime(const std::string& source,
                                              const Json& variables) {
  absl::StatusOr<jinja::Statements> body = jinja::Parse(source);
  if (!body.ok()) return body.status();
  jinja::Budget budget;
  absl::StatusOr<jinja::Value> values = jinja::ValueFromJson(variables, budget);
  if (!values.ok()) return values.status();
  return jinja::Interpreter(absl::FromUnixSeconds(kNowSeconds))
      .Run(*body, *values, budget);
}

// What we made of a case, against what Jinja2 made of it.
void ExpectAsRecorded(const absl::StatusOr<std::string>& text,
                      const Json& recorded) {
  if (recorded.contains("expected")) {
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_EQ(*text, recorded["expected"].get<std::string>());
  } else if (recorded.contains("raised")) {
    EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(text.status().message(), recorded["raised"].get<std::string>());
  } else {
    ASSERT_FALSE(text.ok())
        << "must fail with " << recorded["fails"].get<std::string>()
        << " but gives:\n"
        << *text;
    EXPECT_THAT(std::string(text.status().message()),
                testing::StartsWith("chat template, line "));
  }
}

TEST(ChatTemplateReplayTest, TemplatesOfModelFamiliesRenderAsInJinja2) {
  const Json& cases = Cases();
  EXPECT_GE(cases["templates"].size(), 20u);
  for (const Json& rendering : cases["renderings"]) {
    const auto name = rendering["template"].get<std::string>();
    const auto conversation = rendering["conversation"].get<std::string>();
    SCOPED_TRACE(name + " with " + conversation);
    const auto parsed =
        ChatTemplate::Parse(cases["templates"][name].get<std::string>());
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    ExpectAsRecorded(
        (*parsed)->RenderJson(cases["conversations"][conversation]), rendering);
  }
}

TEST(ChatTemplateReplayTest, ExpressionsAndStatementsRenderAsInJinja2) {
  const Json& cases = Cases();
  EXPECT_GE(cases["expressions"].size(), 150u);
  for (const Json& expression : cases["expressions"]) {
    const auto source = expression["source"].get<std::string>();
    SCOPED_TRACE(source);
    ExpectAsRecorded(RenderAtFixedTime(source, cases["expression_variables"]),
                     expression);
  }
}

}  // namespace
}  // namespace headwise
