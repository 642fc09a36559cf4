#include "server/frontends/calibration_parser.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/calibration/byte_tokenizer.h"
#include "server/frontends/request_parser.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string Refusal(const v1::CalibrateRequest& request) {
  return std::string(ParseCalibrateRequest(request).status().message());
}

ModelFacts Facts(int64_t max_context_len) {
  ModelFacts facts;
  facts.sha256 = std::string(64, 'a');
  facts.num_layers = 4;
  facts.num_heads = 4;
  facts.num_kv_heads = 2;
  facts.max_context_len = max_context_len;
  return facts;
}

TEST(CalibrationParserTest, AbsentFieldsAreTheMethodsDefaults) {
  v1::CalibrateRequest request;
  request.mutable_echo();
  const auto echo = ParseCalibrateRequest(request);
  ASSERT_TRUE(echo.ok()) << echo.status();
  EXPECT_EQ(std::get<EchoOptions>(echo->options).block, 512);
  EXPECT_EQ(echo->rule.use, PlanRule::Use::kKeepUnits);
  EXPECT_EQ(echo->rule.fraction, 0.15);
  EXPECT_EQ(echo->rule.rest, PlanRule().rest);
  request.mutable_ablation();
  const auto ablation = ParseCalibrateRequest(request);
  EXPECT_EQ(std::get<AblationOptions>(ablation->options).num_sinks, 64);
  EXPECT_EQ(ablation->rule.fraction, 0.25);
  request.mutable_act()->set_sink_beta(0.5f);
  const auto act = ParseCalibrateRequest(request);
  EXPECT_EQ(act->rule.use, PlanRule::Use::kCalibrateHeads);
  EXPECT_EQ(act->rule.sink_beta, 0.5f);
}

TEST(CalibrationParserTest, ValuesOfKeysHaveTheOptionsOfNeedles) {
  v1::CalibrateRequest request;
  request.mutable_key_value()->set_needles(7);
  request.mutable_rule()->set_use(v1::PlanRule::USE_MASK_HEADS);
  const auto call = ParseCalibrateRequest(request);
  ASSERT_TRUE(call.ok()) << call.status();
  const auto& options = std::get<RetrievalOptions>(call->options);
  EXPECT_EQ(options.task, RetrievalTask::kKeyValue);
  EXPECT_EQ(options.num_needles, 7);
  EXPECT_EQ(call->rule.fraction, 0.05);
  const ByteTokenizer tokenizer;
  const auto method = MakeMethod(*call, Facts(8192), tokenizer);
  // Of bytes four pairs do not fit into the shortest length.
  EXPECT_THAT(std::string(method.status().message()), HasSubstr("no room"));
}

TEST(CalibrationParserTest, DefaultLengthsEndWithTheContext) {
  const ByteTokenizer tokenizer;
  v1::CalibrateRequest request;
  request.mutable_retrieval();
  const auto call = ParseCalibrateRequest(request);
  ASSERT_TRUE(call.ok()) << call.status();
  EXPECT_THAT((*MakeMethod(*call, Facts(8192), tokenizer))
                  ->manifest()["lengths"]
                  .get<std::vector<int64_t>>(),
              ElementsAre(512, 1024, 2048, 4096));
  EXPECT_THAT((*MakeMethod(*call, Facts(1100), tokenizer))
                  ->manifest()["lengths"]
                  .get<std::vector<int64_t>>(),
              ElementsAre(512, 1024));
  EXPECT_THAT(
      std::string(MakeMethod(*call, Facts(500), tokenizer).status().message()),
      HasSubstr("lengths: 0 were given"));
}

TEST(CalibrationParserTest, EveryMethodCanBeMade) {
  const ByteTokenizer tokenizer;
  v1::CalibrateRequest request;
  request.mutable_ablation()->set_length(4096);
  EXPECT_TRUE(
      MakeMethod(*ParseCalibrateRequest(request), Facts(8192), tokenizer).ok());
  request.mutable_act();
  EXPECT_TRUE(
      MakeMethod(*ParseCalibrateRequest(request), Facts(8192), tokenizer).ok());
  request.mutable_echo();
  EXPECT_TRUE(
      MakeMethod(*ParseCalibrateRequest(request), Facts(8192), tokenizer).ok());
}

TEST(CalibrationParserTest, RulesThatDoNotGoWithTheMethodAreRefused) {
  v1::CalibrateRequest request;
  EXPECT_THAT(Refusal(request), HasSubstr("method"));
  request.mutable_ablation();
  request.mutable_rule()->set_use(v1::PlanRule::USE_MASK_HEADS);
  EXPECT_THAT(Refusal(request), HasSubstr("knows no query heads"));
  request.mutable_act();
  EXPECT_THAT(Refusal(request), HasSubstr("rule.use"));
  request.mutable_echo();
  EXPECT_EQ(ParseCalibrateRequest(request)->rule.fraction, 0.05);
  request.mutable_rule()->set_use(v1::PlanRule::USE_CALIBRATE_HEADS);
  EXPECT_THAT(Refusal(request), HasSubstr("method act alone"));
  request.mutable_rule()->set_use(static_cast<v1::PlanRule::Use>(77));
  EXPECT_THAT(Refusal(request), HasSubstr("unknown value 77"));
}

TEST(CalibrationParserTest, RuleFieldsOutOfRangeAreRefusedByName) {
  v1::CalibrateRequest request;
  request.mutable_echo();
  request.mutable_rule()->set_fraction(1.5);
  EXPECT_THAT(Refusal(request), HasSubstr("rule.fraction"));
  request.mutable_rule()->set_fraction(0.5);
  request.mutable_rule()->mutable_rest()->set_kind(v1::POLICY_KIND_STREAMING);
  EXPECT_THAT(Refusal(request), HasSubstr("window"));
  request.mutable_rule()->mutable_rest()->set_window(64);
  EXPECT_EQ(ParseCalibrateRequest(request)->rule.rest.window, 64);
  EXPECT_EQ(ParseCalibrateRequest(request)->rule.kept, UnitPolicy());
  request.mutable_rule()->mutable_kept()->set_kind(v1::POLICY_KIND_LONG_HEADS);
  EXPECT_THAT(Refusal(request), HasSubstr("rule.kept"));
  request.mutable_rule()->mutable_kept()->set_chunk_len(256);
  request.mutable_rule()->mutable_kept()->set_num_chunks(8);
  EXPECT_EQ(ParseCalibrateRequest(request)->rule.kept.chunk_len, 256);
  request.mutable_rule()->set_mask(static_cast<v1::HeadMask>(9));
  EXPECT_THAT(Refusal(request), HasSubstr("rule.mask"));
}

TEST(CalibrationParserTest, ListsAndTextsAreBounded) {
  v1::CalibrateRequest request;
  request.mutable_echo();
  for (int i = 0; i <= kMaxFinishedTests; ++i) {
    request.mutable_finished()->add_tests();
  }
  EXPECT_THAT(Refusal(request), HasSubstr("has 8193 entries, limit 8192"));
  request.clear_finished();
  request.mutable_finished()->add_tests()->set_id(std::string(257, 'x'));
  EXPECT_THAT(Refusal(request), HasSubstr("has 257 bytes, limit 256"));
  request.clear_finished();
  request.mutable_retrieval()->set_haystack(
      std::string(kMaxTextBytes + 1, 'x'));
  EXPECT_EQ(ParseCalibrateRequest(request).status().code(),
            absl::StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace headwise
