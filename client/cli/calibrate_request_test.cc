#include "client/cli/calibrate_request.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

CalibrateFlags Flags(const std::string& method) {
  CalibrateFlags flags;
  flags.method = method;
  return flags;
}

std::string Refusal(const CalibrateFlags& flags) {
  return std::string(CalibrateRequestOf(flags).status().message());
}

TEST(CalibrateRequestTest, WhatIsNotGivenIsLeftToTheServer) {
  const v1::CalibrateRequest request = *CalibrateRequestOf(Flags("retrieval"));
  EXPECT_EQ(request.retrieval().SerializeAsString(), "");
  EXPECT_TRUE(request.has_retrieval());
  EXPECT_FALSE(request.rule().has_fraction());
  EXPECT_EQ(request.rule().rest().kind(), v1::POLICY_KIND_STREAMING);
  EXPECT_EQ(request.rule().rest().num_sinks(), 64);
  EXPECT_EQ(request.rule().rest().window(), 256);
}

TEST(CalibrateRequestTest, FlagsGoToTheirMethod) {
  CalibrateFlags flags = Flags("retrieval");
  flags.lengths = {512, 1024};
  flags.depths = {0.5};
  flags.needles = 2;
  flags.check_tests = 0;
  flags.keep = 0.5;
  flags.seed = 7;
  v1::CalibrateRequest request = *CalibrateRequestOf(flags);
  EXPECT_THAT(request.retrieval().lengths(), ElementsAre(512, 1024));
  EXPECT_THAT(request.retrieval().depths(), ElementsAre(0.5));
  EXPECT_TRUE(request.retrieval().has_check_tests());
  EXPECT_EQ(request.rule().fraction(), 0.5);
  EXPECT_EQ(request.seed(), 7u);

  flags = Flags("ablation");
  flags.lengths = {2048};
  flags.tests = 3;
  flags.unit = {.num_sinks = 4, .window = 128};
  request = *CalibrateRequestOf(flags);
  EXPECT_EQ(request.ablation().length(), 2048);
  EXPECT_EQ(request.ablation().prompts(), 3);
  EXPECT_EQ(request.ablation().sinks(), 4);
  EXPECT_EQ(request.ablation().window(), 128);
  EXPECT_EQ(request.rule().rest().window(), 128);

  flags = Flags("act");
  flags.tests = 9;
  flags.sink_beta = 0.5f;
  request = *CalibrateRequestOf(flags);
  EXPECT_EQ(request.act().items(), 9);
  EXPECT_EQ(request.act().sink_beta(), 0.5f);
  EXPECT_FALSE(request.has_rule());
}

TEST(CalibrateRequestTest, PoliciesTakeTheFieldsThatTheyHave) {
  CalibrateFlags flags = Flags("echo");
  flags.rest = "quest";
  flags.unit.chunk_len = 64;
  flags.unit.num_chunks = 16;
  const UnitPolicy rest = PlanRuleOf(flags)->rest;
  EXPECT_EQ(rest.kind, PolicyKind::kQuest);
  EXPECT_EQ(rest.chunk_len, 64);
  EXPECT_EQ(rest.window, 0);
  EXPECT_EQ(PlanRuleOf(flags)->kept, UnitPolicy());

  flags.kept = "longheads";
  flags.rest = "streaming";
  flags.unit = {.num_sinks = 4,
                .window = 1024,
                .slot_positions = true,
                .chunk_len = 256,
                .num_chunks = 8,
                .per_query_head = true};
  const PlanRule rule = *PlanRuleOf(flags);
  EXPECT_EQ(rule.kept, (UnitPolicy{.kind = PolicyKind::kLongHeads,
                                   .chunk_len = 256,
                                   .num_chunks = 8,
                                   .per_query_head = true}));
  EXPECT_EQ(rule.rest, (UnitPolicy{.kind = PolicyKind::kStreaming,
                                   .num_sinks = 4,
                                   .window = 1024,
                                   .slot_positions = true}));
  const v1::CalibrateRequest request = *CalibrateRequestOf(flags);
  EXPECT_EQ(request.rule().kept().kind(), v1::POLICY_KIND_LONG_HEADS);
  EXPECT_TRUE(request.rule().rest().slot_positions());
  flags.unit.chunk_len = 0;
  EXPECT_THAT(Refusal(flags), HasSubstr("--kept longheads: "));
  flags.kept = "full";
  flags.rest = "quest";
  EXPECT_THAT(Refusal(flags), HasSubstr("--rest quest: "));
}

TEST(CalibrateRequestTest, MaskTopMasksInsteadOfKeeping) {
  CalibrateFlags flags = Flags("retrieval");
  flags.mask_top = 0.05;
  flags.mask = "zero";
  const v1::CalibrateRequest request = *CalibrateRequestOf(flags);
  EXPECT_EQ(request.rule().use(), v1::PlanRule::USE_MASK_HEADS);
  EXPECT_EQ(request.rule().fraction(), 0.05);
  EXPECT_EQ(request.rule().mask(), v1::HEAD_MASK_ZERO);
  EXPECT_EQ(PlanRuleOf(flags)->use, PlanRule::Use::kMaskHeads);
}

TEST(CalibrateRequestTest, TheProxyTaskHasTheFlagsOfRetrieval) {
  CalibrateFlags flags = Flags("key-value");
  flags.depths = {0.5};
  flags.mask_top = 0.05;
  const v1::CalibrateRequest request = *CalibrateRequestOf(flags);
  EXPECT_THAT(request.key_value().depths(), ElementsAre(0.5));
  EXPECT_EQ(request.rule().use(), v1::PlanRule::USE_MASK_HEADS);
  flags.block = 512;
  EXPECT_THAT(Refusal(flags), HasSubstr("--block: method key-value"));
}

TEST(CalibrateRequestTest, FlagsOfOtherMethodsAreRefusedByName) {
  CalibrateFlags flags = Flags("echo");
  flags.depths = {0.5};
  EXPECT_THAT(Refusal(flags), HasSubstr("--depths: method echo"));
  flags = Flags("retrieval");
  flags.block = 512;
  EXPECT_THAT(Refusal(flags), HasSubstr("--block: method retrieval"));
  flags = Flags("act");
  flags.keep = 0.5;
  EXPECT_THAT(Refusal(flags), HasSubstr("--keep: method act"));
  flags = Flags("ablation");
  flags.mask_top = 0.5;
  EXPECT_THAT(Refusal(flags), HasSubstr("--mask-top: method ablation"));
  flags = Flags("ablation");
  flags.lengths = {512, 1024};
  EXPECT_THAT(Refusal(flags), HasSubstr("--lengths: 2 are given"));
}

}  // namespace
}  // namespace headwise
