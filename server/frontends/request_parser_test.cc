#include <cmath>
#include <functional>
#include <limits>

#include "absl/strings/str_cat.h"
#include "base/build_info.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/frontends/request_parser_fixture.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// A request that differs from a good one in one field, and what its error says:
// the field, the value, the limit.
struct BadGenerate {
  const char* name;
  std::function<void(v1::GenerateRequest*)> spoil;
  absl::StatusCode code;
  std::vector<const char*> message;
};

void PrintTo(const BadGenerate& bad, std::ostream* os) { *os << bad.name; }

class BadGenerateTest : public testing::TestWithParam<BadGenerate> {
 protected:
  FakeServed fakes_;
};

TEST_P(BadGenerateTest, IsRefusedWithFieldValueAndLimit) {
  v1::GenerateRequest request;
  request.set_text("hi");
  const ServedModel served = fakes_.Served();
  const PlanStore plans(fakes_.model.hyperparameters(), KvType::kFp16);
  const RequestTerms terms = {served, plans, MapOf(kServedLen)};
  ASSERT_TRUE(ParseGenerateRequest(request, terms).ok());
  GetParam().spoil(&request);
  const absl::Status status = ParseGenerateRequest(request, terms).status();
  EXPECT_EQ(status.code(), GetParam().code) << status;
  for (const char* part : GetParam().message) {
    EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  }
}

v1::SamplingOptions* Sampling(v1::GenerateRequest* request) {
  return request->mutable_options()->mutable_sampling();
}

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<BadGenerate> BadPromptsAndLimits() {
  return {
      {"priority_unknown",
       [](auto* r) { r->set_priority(static_cast<v1::Priority>(7)); },
       kInvalid,
       {"priority", "7", "from 0 to 2"}},
      {"priority_negative",
       [](auto* r) { r->set_priority(static_cast<v1::Priority>(-1)); },
       kInvalid,
       {"priority", "-1", "from 0 to 2"}},
      {"unknown_model",
       [](auto* r) { r->set_model("gpt"); },
       absl::StatusCode::kNotFound,
       {"model", "gpt", "tiny"}},
      {"no_prompt", [](auto* r) { r->clear_prompt(); }, kInvalid, {"text"}},
      {"empty_text",
       [](auto* r) { r->set_text(""); },
       kInvalid,
       {"text", "empty"}},
      {"no_tokens",
       [](auto* r) { r->mutable_tokens(); },
       kInvalid,
       {"tokens.ids", "empty"}},
      {"token_too_large",
       [](auto* r) { r->mutable_tokens()->add_ids(259); },
       kInvalid,
       {"tokens.ids[0]", "259", "258"}},
      {"token_negative",
       [](auto* r) {
         r->mutable_tokens()->add_ids(1);
         r->mutable_tokens()->add_ids(-5);
       },
       kInvalid,
       {"tokens.ids[1]", "-5"}},
      {"prompt_too_long",
       [](auto* r) { r->set_text(std::string(31, 'a')); },
       absl::StatusCode::kOutOfRange,
       {"32 tokens", "31", "max_context_len"}},
      {"max_tokens_negative",
       [](auto* r) { r->mutable_options()->set_max_tokens(-1); },
       kInvalid,
       {"options.max_tokens", "-1", "32"}},
      {"max_tokens_huge",
       [](auto* r) { r->mutable_options()->set_max_tokens(INT32_MAX); },
       kInvalid,
       {"options.max_tokens", "2147483647", "32"}},
      {"top_logprobs_21",
       [](auto* r) { r->mutable_options()->set_top_logprobs(21); },
       kInvalid,
       {"options.top_logprobs", "21", "20"}},
  };
}

std::vector<BadGenerate> BadSampling() {
  return {
      {"temperature_nan",
       [](auto* r) { Sampling(r)->set_temperature(kNan); },
       kInvalid,
       {"options.sampling.temperature", "nan", "100"}},
      {"temperature_negative",
       [](auto* r) { Sampling(r)->set_temperature(-0.5f); },
       kInvalid,
       {"options.sampling.temperature", "-0.5", "0"}},
      {"temperature_infinite",
       [](auto* r) { Sampling(r)->set_temperature(kInf); },
       kInvalid,
       {"options.sampling.temperature", "inf", "100"}},
      {"top_k_negative",
       [](auto* r) { Sampling(r)->set_top_k(-1); },
       kInvalid,
       {"options.sampling.top_k", "-1"}},
      {"top_p_above_1",
       [](auto* r) { Sampling(r)->set_top_p(1.5f); },
       kInvalid,
       {"options.sampling.top_p", "1.5", "1"}},
      {"top_p_nan",
       [](auto* r) { Sampling(r)->set_top_p(kNan); },
       kInvalid,
       {"options.sampling.top_p", "nan"}},
      {"min_p_1",
       [](auto* r) { Sampling(r)->set_min_p(1.0f); },
       kInvalid,
       {"options.sampling.min_p", "1"}},
      {"repetition_penalty_negative",
       [](auto* r) { Sampling(r)->set_repetition_penalty(-1.0f); },
       kInvalid,
       {"options.sampling.repetition_penalty", "-1", "100"}},
      {"stop_too_many",
       [](auto* r) {
         for (int i = 0; i < 17; ++i) r->mutable_options()->add_stop("x");
       },
       kInvalid,
       {"options.stop", "17", "16"}},
      {"stop_empty",
       [](auto* r) { r->mutable_options()->add_stop(""); },
       kInvalid,
       {"options.stop[0]", "0 bytes", "256"}},
      {"stop_too_long",
       [](auto* r) {
         r->mutable_options()->add_stop("ok");
         r->mutable_options()->add_stop(std::string(257, 's'));
       },
       kInvalid,
       {"options.stop[1]", "257", "256"}},
  };
}

std::string NameOf(const testing::TestParamInfo<BadGenerate>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(Limits, BadGenerateTest,
                         testing::ValuesIn(BadPromptsAndLimits()), NameOf);
INSTANTIATE_TEST_SUITE_P(Sampling, BadGenerateTest,
                         testing::ValuesIn(BadSampling()), NameOf);

TEST_F(RequestParserTest, WhatBeganUnderOtherNumericsIsNotResumed) {
  v1::GenerateRequest request;
  request.set_text("hi");
  request.mutable_received()->add_ids('a');
  const uint32_t own = OwnBuild().numerics;
  for (const uint32_t numerics : {uint32_t{0}, own}) {
    request.set_numerics(numerics);
    EXPECT_TRUE(ParseGenerateRequest(request, Terms()).ok()) << numerics;
  }
  request.set_numerics(own + 1);
  const absl::Status status = ParseGenerateRequest(request, Terms()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat("`received` is of numerics ", own + 1,
                                     ", this server of build ",
                                     OwnBuild().version, " has ", own)));
  request.clear_received();  // there is nothing to splice
  EXPECT_TRUE(ParseGenerateRequest(request, Terms()).ok());
}

TEST_F(RequestParserTest, LimitsThemselvesAreAllowed) {
  v1::GenerateRequest request;
  request.set_model("tiny");
  request.set_text(std::string(30, 'a'));  // and bos: 31 of 32
  v1::GenerationOptions& options = *request.mutable_options();
  options.set_max_tokens(32);
  options.set_top_logprobs(20);
  for (int i = 0; i < 16; ++i) options.add_stop(std::string(256, 's'));
  Sampling(&request)->set_temperature(100);
  Sampling(&request)->set_top_k(INT32_MAX);
  Sampling(&request)->set_top_p(1);
  Sampling(&request)->set_min_p(std::nextafter(1.0f, 0.0f));
  Sampling(&request)->set_repetition_penalty(100);
  const auto call = ParseGenerateRequest(request, Terms(0));
  ASSERT_TRUE(call.ok()) << call.status();
  EXPECT_TRUE(call->logprobs);
  EXPECT_EQ(call->engine.sampling.top_logprobs, 20);
  EXPECT_EQ(call->engine.sampling.top_k, INT32_MAX);
  EXPECT_EQ(call->engine.sampling.repetition_penalty, 100);
  EXPECT_EQ(call->stop.size(), 16u);
  // 31 prompt tokens leave room for one.
  EXPECT_EQ(call->engine.max_new_tokens, 1);
}

TEST_F(RequestParserTest, DefaultsAreResolved) {
  v1::GenerateRequest request;
  request.set_text("hi");
  const auto call = ParseGenerateRequest(request, Terms());
  ASSERT_TRUE(call.ok());
  EXPECT_THAT(call->engine.prompt, ElementsAre(256, 'h', 'i'));
  EXPECT_EQ(call->engine.kind, WorkKind::kGenerate);
  EXPECT_EQ(call->engine.max_new_tokens, kServedLen - 3);
  EXPECT_EQ(call->engine.sampling.temperature, 0);
  EXPECT_EQ(call->engine.sampling.top_p, 1);
  EXPECT_EQ(call->engine.sampling.repetition_penalty, 1);
  EXPECT_FALSE(call->engine.sampling.logprobs);
  EXPECT_FALSE(call->logprobs);
  EXPECT_THAT(call->engine.stop_tokens, ElementsAre(257, 258));
}

TEST_F(RequestParserTest, MaxTokensIsCutToTheContextAndKeptBelowIt) {
  v1::GenerateRequest request;
  request.set_text("hi");
  request.mutable_options()->set_max_tokens(5);
  EXPECT_EQ(ParseGenerateRequest(request, Terms())->engine.max_new_tokens, 5);
  request.mutable_options()->set_max_tokens(30);
  EXPECT_EQ(ParseGenerateRequest(request, Terms())->engine.max_new_tokens,
            kServedLen - 3);
  // A prompt that the cluster can't hold is left for the engine to refuse.
  EXPECT_EQ(ParseGenerateRequest(request, Terms(2))->engine.max_new_tokens, 1);
}

TEST_F(RequestParserTest, IgnoreEosLeavesNoStopToken) {
  v1::GenerateRequest request;
  request.mutable_tokens()->add_ids(65);
  request.mutable_options()->set_ignore_eos(true);
  const auto call = ParseGenerateRequest(request, Terms());
  ASSERT_TRUE(call.ok());
  EXPECT_THAT(call->engine.prompt, ElementsAre(65));
  EXPECT_THAT(call->engine.stop_tokens, IsEmpty());
}

TEST_F(RequestParserTest, ChatRendersItsMessagesWithoutBos) {
  v1::ChatRequest request;
  auto* message = request.add_messages();
  message->set_role("user");
  message->set_content("<|im_end|>");
  const auto call = ParseChatRequest(request, Terms());
  ASSERT_TRUE(call.ok()) << call.status();
  EXPECT_THAT(call->engine.prompt,
              ElementsAre('u', 's', 'e', 'r', ':', 258, '|'));
}

TEST_F(RequestParserTest, BadChatsAreRefused) {
  v1::ChatRequest request;
  EXPECT_THAT(
      std::string(ParseChatRequest(request, Terms()).status().message()),
      HasSubstr("messages: has 0 messages; must have 1 to 1024"));
  for (int i = 0; i < 1025; ++i) request.add_messages()->set_role("user");
  EXPECT_THAT(
      std::string(ParseChatRequest(request, Terms()).status().message()),
      HasSubstr("messages: has 1025 messages"));
  request.clear_messages();
  request.add_messages()->set_role("user");
  request.add_messages()->set_role("root");
  EXPECT_THAT(
      std::string(ParseChatRequest(request, Terms()).status().message()),
      HasSubstr("messages[1].role: is \"root\"; must be system"));
}

TEST_F(RequestParserTest, ChatWithoutATemplateIsAFailedPrecondition) {
  ServedModel served = served_;
  served.chat_template = nullptr;
  v1::ChatRequest request;
  request.add_messages()->set_role("user");
  const absl::Status status =
      ParseChatRequest(request, {served, plans_, MapOf(kServedLen)}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no chat template"));
}

TEST_F(RequestParserTest, ATemplatesRefusalIsNoReasonToComeAgain) {
  v1::ChatRequest request;
  request.add_messages()->set_role("user");
  const std::pair<absl::Status, absl::StatusCode> cases[] = {
      {absl::InvalidArgumentError("only 2 roles"), kInvalid},
      {absl::ResourceExhaustedError("above 1 MiB"), kInvalid},
      {absl::UnimplementedError("no macros"),
       absl::StatusCode::kFailedPrecondition}};
  for (const auto& [refusal, code] : cases) {
    fakes_.chat_template.refusal = refusal;
    const absl::Status status = ParseChatRequest(request, Terms()).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(std::string(refusal.message())));
    if (code == kInvalid) {
      EXPECT_THAT(std::string(status.message()), HasSubstr("messages: "));
    }
  }
}

TEST_F(RequestParserTest, ALongTextIsRefusedBeforeItIsTokenized) {
  const std::string text(kMaxTextBytes + 1, 'a');
  v1::ScoreRequest score;
  score.set_text(text);
  v1::ChatRequest chat;
  for (int i = 0; i < 2; ++i) {
    chat.add_messages()->set_role("user");
    chat.mutable_messages(i)->set_content(text.substr(text.size() / 2));
  }
  for (const absl::Status& status :
       {ParseScoreRequest(score, Terms()).status(),
        ParseChatRequest(chat, Terms()).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("bytes of text; at most 16777216"));
  }
  score.set_text(text.substr(1));
  score.set_max_tokens(2);
  EXPECT_TRUE(ParseScoreRequest(score, Terms()).ok());
}

TEST_F(RequestParserTest, ScoreTakesTheFirstTokensWithoutBos) {
  v1::ScoreRequest request;
  request.set_text("abcd");
  request.set_max_tokens(3);
  const auto call = ParseScoreRequest(request, Terms());
  ASSERT_TRUE(call.ok());
  EXPECT_THAT(call->engine.prompt, ElementsAre('a', 'b', 'c'));
  EXPECT_EQ(call->engine.kind, WorkKind::kScore);
  EXPECT_TRUE(call->engine.hash_logits);
  request.set_omit_logits_hash(true);
  request.set_max_tokens(9);
  EXPECT_EQ(ParseScoreRequest(request, Terms())->engine.prompt.size(), 4u);
  EXPECT_FALSE(ParseScoreRequest(request, Terms())->engine.hash_logits);
}

TEST_F(RequestParserTest, BadScoresAreRefused) {
  v1::ScoreRequest request;
  request.set_text("a");
  EXPECT_THAT(
      std::string(ParseScoreRequest(request, Terms()).status().message()),
      HasSubstr("at least 2"));
  request.set_text("abc");
  for (const int64_t max_tokens : {-1, 1}) {
    request.set_max_tokens(max_tokens);
    EXPECT_THAT(
        std::string(ParseScoreRequest(request, Terms()).status().message()),
        HasSubstr("max_tokens: is " + std::to_string(max_tokens)));
  }
  request.set_max_tokens(0);
  request.set_text(std::string(32, 'a'));
  EXPECT_TRUE(ParseScoreRequest(request, Terms()).ok());
  request.set_text(std::string(33, 'a'));
  EXPECT_EQ(ParseScoreRequest(request, Terms()).status().code(),
            absl::StatusCode::kOutOfRange);
  request.set_model("other");
  EXPECT_EQ(ParseScoreRequest(request, Terms()).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(RequestParserTest, EmbedChecksItsPooling) {
  v1::EmbedRequest request;
  request.set_text("a");
  request.set_pooling(v1::POOLING_LAST);
  request.set_normalize(true);
  auto call = ParseEmbedRequest(request, Terms());
  ASSERT_TRUE(call.ok());
  EXPECT_TRUE(call->pool_last);
  EXPECT_TRUE(call->normalize);
  EXPECT_EQ(call->engine.kind, WorkKind::kEmbed);
  request.set_pooling(v1::POOLING_UNSPECIFIED);
  EXPECT_FALSE(ParseEmbedRequest(request, Terms())->pool_last);
  request.set_pooling(static_cast<v1::Pooling>(9));
  EXPECT_THAT(
      std::string(ParseEmbedRequest(request, Terms()).status().message()),
      HasSubstr("pooling: is 9"));
  request.set_pooling(v1::POOLING_MEAN);
  request.set_text(std::string(32, 'a'));  // and bos: 33
  EXPECT_EQ(ParseEmbedRequest(request, Terms()).status().code(),
            absl::StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace headwise
