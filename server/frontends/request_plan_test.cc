// Which plan a request runs under, and how long it may be then.

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/frontends/request_parser_fixture.h"
#include "server/frontends/test_plans.h"

namespace headwise {
namespace {

using testing::HasSubstr;

TEST_F(RequestParserTest, ARequestRunsUnderTheDefaultPlanOrTheOneItNames) {
  v1::GenerateRequest request;
  request.set_text("hi");
  EXPECT_EQ(ParseGenerateRequest(request, Terms())->engine.plan, nullptr);
  const StoredPlan first = *plans_.Put(StreamingPlan(4));
  const StoredPlan second = *plans_.Put(StreamingPlan(8));
  ASSERT_TRUE(plans_.SetDefault(first.hash).ok());
  EXPECT_EQ(ParseGenerateRequest(request, Terms())->engine.plan, first.plan);
  request.set_plan("full");
  EXPECT_EQ(ParseGenerateRequest(request, Terms())->engine.plan, nullptr);
  const std::string prefix = second.hash.substr(0, 8);
  request.set_plan(prefix);
  EXPECT_EQ(ParseGenerateRequest(request, Terms())->engine.plan, second.plan);
  v1::ChatRequest chat;
  chat.add_messages()->set_role("user");
  chat.set_plan(prefix);
  EXPECT_EQ(ParseChatRequest(chat, Terms())->engine.plan, second.plan);
  v1::ScoreRequest score;
  score.set_text("abc");
  score.set_plan(prefix);
  EXPECT_EQ(ParseScoreRequest(score, Terms())->engine.plan, second.plan);
  v1::EmbedRequest embed;
  embed.set_text("abc");
  embed.set_plan(prefix);
  EXPECT_EQ(ParseEmbedRequest(embed, Terms())->engine.plan, second.plan);
  embed.set_plan("01234567");
  EXPECT_EQ(ParseEmbedRequest(embed, Terms()).status().code(),
            absl::StatusCode::kNotFound);
  score.set_plan("plan.json");
  EXPECT_THAT(std::string(ParseScoreRequest(score, Terms()).status().message()),
              HasSubstr("plan: \"plan.json\" is no name of a plan"));
}

// Of a model with 32 tokens of context.
TEST_F(RequestParserTest, PlansThatRenumberPositionsAllowLongerContexts) {
  const std::string bounded = plans_.Put(StreamingPlan(8))->hash;
  const std::string endless = plans_.Put(EndlessPlan(8))->hash;
  v1::GenerateRequest request;
  request.set_text(std::string(1000, 'a'));
  request.set_plan(bounded);
  const absl::Status refused = ParseGenerateRequest(request, Terms()).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("1001 tokens; at most 31 fit into the context of tiny "
                        "under plan " +
                        bounded.substr(0, 8)));
  request.set_plan(endless);
  const auto call = ParseGenerateRequest(request, Terms());
  ASSERT_TRUE(call.ok()) << call.status();
  EXPECT_EQ(call->engine.prompt.size(), 1001u);
  // Named none: as many as the model's context.
  EXPECT_EQ(call->engine.max_new_tokens, 32);
  request.mutable_options()->set_max_tokens(5000);
  EXPECT_EQ(ParseGenerateRequest(request, Terms())->engine.max_new_tokens,
            5000);
  v1::ScoreRequest score;
  score.set_text(request.text());
  EXPECT_FALSE(ParseScoreRequest(score, Terms()).ok());
  score.set_plan(endless);
  EXPECT_TRUE(ParseScoreRequest(score, Terms()).ok());
  v1::EmbedRequest embed;
  embed.set_text(request.text());
  EXPECT_FALSE(ParseEmbedRequest(embed, Terms()).ok());
  embed.set_plan(endless);
  EXPECT_TRUE(ParseEmbedRequest(embed, Terms()).ok());
}

}  // namespace
}  // namespace headwise
