// Each kind of request says how urgent it is.

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/frontends/request_parser_fixture.h"

namespace headwise {
namespace {

using testing::HasSubstr;

template <typename Request, typename Parse>
void ExpectPriorityIsRead(Request request, const Parse& parse) {
  EXPECT_FALSE(parse(request)->engine.is_background);
  request.set_priority(v1::PRIORITY_BATCH);
  EXPECT_TRUE(parse(request)->engine.is_background);
  request.set_priority(v1::PRIORITY_INTERACTIVE);
  EXPECT_FALSE(parse(request)->engine.is_background);
  request.set_priority(static_cast<v1::Priority>(3));
  EXPECT_THAT(std::string(parse(request).status().message()),
              HasSubstr("priority: is 3; must be from 0 to 2"));
}

TEST_F(RequestParserTest, EachKindOfRequestHasAPriority) {
  const RequestTerms terms = Terms();
  v1::GenerateRequest generate;
  generate.set_text("hi");
  ExpectPriorityIsRead(generate, [&](const auto& request) {
    return ParseGenerateRequest(request, terms);
  });
  v1::ChatRequest chat;
  chat.add_messages()->set_role("user");
  ExpectPriorityIsRead(chat, [&](const auto& request) {
    return ParseChatRequest(request, terms);
  });
  v1::ScoreRequest score;
  score.set_text("hi");
  ExpectPriorityIsRead(score, [&](const auto& request) {
    return ParseScoreRequest(request, terms);
  });
  v1::EmbedRequest embed;
  embed.set_text("hi");
  ExpectPriorityIsRead(embed, [&](const auto& request) {
    return ParseEmbedRequest(request, terms);
  });
}

}  // namespace
}  // namespace headwise
