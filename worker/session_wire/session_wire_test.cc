#include "worker/session_wire/session_wire.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::ElementsAre;

TEST(SessionWireTest, OpenPartComesBack) {
  const OpenPartRequest in = {"id",
                              {.num_kv_heads = 3,
                               .heads_per_kv_head = 2,
                               .head_dim = 64,
                               .element = KvElement::kInt8,
                               .input_type = FloatType::kBf16,
                               .max_positions = 1000},
                              {{0,
                                {},
                                {.kind = PolicyKind::kRazor,
                                 .num_sinks = 4,
                                 .window = 256,
                                 .count_weight = false,
                                 .full_prompt = false}},
                               {1,
                                {},
                                {.kind = PolicyKind::kQuest,
                                 .chunk_len = 64,
                                 .num_chunks = 5,
                                 .per_query_head = true}},
                               {2, {0, 5}, {}}}};
  worker::v1::OpenPartRequest wire;
  WriteOpenPart(in, &wire);
  const auto out = ParseOpenPart(wire);
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(out->session_id, "id");
  EXPECT_EQ(out->shape.num_kv_heads, 3);
  EXPECT_EQ(out->shape.heads_per_kv_head, 2);
  EXPECT_EQ(out->shape.head_dim, 64);
  EXPECT_EQ(out->shape.element, KvElement::kInt8);
  EXPECT_EQ(out->shape.input_type, FloatType::kBf16);
  EXPECT_EQ(out->shape.max_positions, 1000);
  ASSERT_EQ(out->units.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(out->units[i].kv_head, in.units[i].kv_head);
    EXPECT_EQ(out->units[i].policy, in.units[i].policy);
  }
  EXPECT_THAT(out->units[2].ranges, ElementsAre(0, 5));
}

TEST(SessionWireTest, TypesThatAreNoneAreRefused) {
  worker::v1::OpenPartRequest wire;
  wire.mutable_shape()->set_element(4);
  EXPECT_FALSE(ParseOpenPart(wire).ok());
  wire.mutable_shape()->set_element(0);
  wire.mutable_shape()->set_input_type(-1);
  EXPECT_FALSE(ParseOpenPart(wire).ok());
  wire.mutable_shape()->set_input_type(0);
  wire.add_units()->set_policy(100);
  EXPECT_FALSE(ParseOpenPart(wire).ok());
}

TEST(SessionWireTest, StageComesBack) {
  worker::v1::StageRequest wire;
  WriteStage({"id", 7, {{1, 8, 2, "keys", "vals"}}}, &wire);
  const StageRequest out = ParseStage(wire);
  EXPECT_EQ(out.session_id, "id");
  EXPECT_EQ(out.length, 7);
  ASSERT_EQ(out.pieces.size(), 1u);
  EXPECT_EQ(out.pieces[0].kv_head, 1);
  EXPECT_EQ(out.pieces[0].first_position, 8);
  EXPECT_EQ(out.pieces[0].num_positions, 2);
  EXPECT_EQ(out.pieces[0].keys, "keys");
  EXPECT_EQ(out.pieces[0].values, "vals");
}

TEST(SessionWireTest, AttendPartAndItsResultComeBack) {
  worker::v1::AttendPartRequest wire;
  WriteAttendPart({"id", 9, {3, 4}, {{2, {1.0f, 2.0f}}}}, &wire);
  const AttendPartRequest out = ParseAttendPart(wire);
  EXPECT_EQ(out.session_id, "id");
  EXPECT_EQ(out.length, 9);
  EXPECT_THAT(out.visible_end, ElementsAre(3, 4));
  EXPECT_EQ(out.units.at(0).kv_head, 2);
  EXPECT_THAT(out.units[0].queries, ElementsAre(1.0f, 2.0f));

  worker::v1::AttendPartResponse response;
  WriteAttendResult({{{2, {{0, {1.5f}, {-0.5f}}, {4, {2.5f}, {0.0f}}}}}},
                    &response);
  const AttendPartResult result = ParseAttendResult(response);
  ASSERT_EQ(result.units.at(0).parts.size(), 2u);
  EXPECT_EQ(result.units[0].kv_head, 2);
  EXPECT_EQ(result.units[0].parts[1].first_range, 4);
  EXPECT_THAT(result.units[0].parts[1].out, ElementsAre(2.5f));
  EXPECT_THAT(result.units[0].parts[0].lse, ElementsAre(-0.5f));
}

TEST(SessionWireTest, ProbePartAndItsResultComeBack) {
  ProbePartRequest in;
  in.session_id = "id";
  in.length = 9;
  in.visible_end = {3};
  in.units.resize(1);
  in.units[0].queries = {2, {1.0f}};
  in.units[0].lse = {0.25f};
  in.num_top_keys = 5;
  in.segment_bounds = {0, 9};
  in.entropy = true;
  worker::v1::ProbePartRequest wire;
  WriteProbePart(in, &wire);
  const ProbePartRequest out = ParseProbePart(wire);
  EXPECT_EQ(out.session_id, "id");
  EXPECT_EQ(out.length, 9);
  EXPECT_THAT(out.visible_end, ElementsAre(3));
  EXPECT_THAT(out.units.at(0).lse, ElementsAre(0.25f));
  EXPECT_THAT(out.units[0].queries.queries, ElementsAre(1.0f));
  EXPECT_EQ(out.num_top_keys, 5);
  EXPECT_THAT(out.segment_bounds, ElementsAre(0, 9));
  EXPECT_TRUE(out.entropy);

  worker::v1::ProbePartResponse response;
  WriteProbeResult({{{2, {{7, 0.5f}, {-1, 0.0f}}, {11}, {-12}}}}, &response);
  const auto result = ParseProbeResult(response);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->units.at(0).kv_head, 2);
  EXPECT_EQ(result->units[0].top.at(0).position, 7);
  EXPECT_EQ(result->units[0].top[0].prob, 0.5f);
  EXPECT_EQ(result->units[0].top.at(1).position, -1);
  EXPECT_THAT(result->units[0].mass, ElementsAre(11));
  EXPECT_THAT(result->units[0].entropy, ElementsAre(-12));
  response.mutable_units(0)->add_top_probs(1.0f);
  EXPECT_FALSE(ParseProbeResult(response).ok());
}

}  // namespace
}  // namespace headwise
