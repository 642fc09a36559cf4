#include "worker/service/worker_wire.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

worker::v1::PrepareRequest GoodRequest() {
  worker::v1::PrepareRequest request;
  request.set_membership_epoch(3);
  request.set_model_path("m");
  request.set_rank(1);
  request.set_world_size(2);
  request.mutable_shard()->add_layers()->add_kv_heads(2);
  request.mutable_shard()->mutable_layers(0)->add_mlp_tiles(4);
  request.mutable_shard()->add_vocab_tiles(5);
  request.add_vocab_tile_rank(1);
  request.set_group_kind(worker::v1::GROUP_KIND_GLOO);
  request.set_group_timeout_ms(1500);
  request.set_kv_type("int8");
  request.set_kv_capacity_bytes(77);
  request.set_max_step_tokens(9);
  return request;
}

TEST(ParsePrepareTest, CopiesEveryField) {
  const auto config = ParsePrepare(GoodRequest());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->membership_epoch, 3u);
  EXPECT_EQ(config->rank, 1);
  EXPECT_EQ(config->world_size, 2);
  EXPECT_THAT(config->shard.layers[0].units, testing::ElementsAre(2));
  EXPECT_THAT(config->shard.layers[0].mlp_tiles, testing::ElementsAre(4));
  EXPECT_THAT(config->shard.vocab_tiles, testing::ElementsAre(5));
  EXPECT_THAT(config->shard.vocab_tile_rank, testing::ElementsAre(1));
  EXPECT_EQ(config->group_kind, WorkerGroupKind::kGloo);
  EXPECT_EQ(config->group_timeout, absl::Milliseconds(1500));
  EXPECT_EQ(config->reduction, ReductionMode::kExact);
  EXPECT_EQ(config->kv_type, KvType::kInt8);
  EXPECT_EQ(config->kv_capacity_bytes, 77);
  EXPECT_EQ(config->max_step_tokens, 9);
}

TEST(ParsePrepareTest, HostileFieldsAreRefused) {
  const auto refused = [](auto change) {
    worker::v1::PrepareRequest request = GoodRequest();
    change(request);
    return absl::IsInvalidArgument(ParsePrepare(request).status());
  };
  EXPECT_TRUE(refused([](auto& r) { r.set_rank(UINT32_MAX); }));
  EXPECT_TRUE(refused([](auto& r) { r.set_world_size(UINT32_MAX); }));
  EXPECT_TRUE(refused([](auto& r) { r.set_world_size(0); }));
  EXPECT_TRUE(refused([](auto& r) { r.set_rank(2); }));
  EXPECT_TRUE(
      refused([](auto& r) { r.mutable_shard()->add_vocab_tiles(1u << 31); }));
  EXPECT_TRUE(refused([](auto& r) { r.add_vocab_tile_rank(UINT32_MAX); }));
  EXPECT_TRUE(refused([](auto& r) {
    for (int i = 0; i < 5000; ++i) r.mutable_shard()->add_layers();
  }));
  EXPECT_TRUE(refused([](auto& r) {
    r.set_group_kind(static_cast<worker::v1::GroupKind>(99));
  }));
  EXPECT_TRUE(refused([](auto& r) { r.clear_group_kind(); }));
  EXPECT_TRUE(refused([](auto& r) {
    r.set_reduction(static_cast<worker::v1::Reduction>(-5));
  }));
  EXPECT_TRUE(refused([](auto& r) { r.set_kv_type("fp7"); }));
  EXPECT_TRUE(refused([](auto& r) { r.set_group_timeout_ms(INT64_MIN); }));
  EXPECT_TRUE(refused([](auto& r) { r.set_kv_capacity_bytes(INT64_MIN); }));
  EXPECT_TRUE(refused([](auto& r) { r.set_max_step_tokens(INT64_MAX); }));
}

TEST(ParseStepTest, CopiesEveryField) {
  worker::v1::StepRequest request;
  request.set_step_id(8);
  request.add_free_sequence_ids(4);
  worker::v1::Slice* in = request.add_slices();
  in->set_sequence_id(6);
  in->set_first_position(3);
  in->add_tokens(1);
  in->add_score_targets(2);
  in->set_sample(true);
  in->mutable_sampling()->set_temperature(0.5f);
  in->mutable_sampling()->set_top_p(0.9f);
  in->mutable_sampling()->set_seed(11);
  in->set_hash_logits(true);
  in->set_embed(true);
  const auto step = ParseStep(request);
  ASSERT_TRUE(step.ok());
  EXPECT_EQ(step->step_id, 8u);
  EXPECT_THAT(step->free_sequence_ids, testing::ElementsAre(4));
  const Slice& slice = step->slices.at(0);
  EXPECT_EQ(slice.sequence_id, 6u);
  EXPECT_EQ(slice.first_position, 3);
  EXPECT_THAT(slice.tokens, testing::ElementsAre(1));
  EXPECT_THAT(slice.score_targets, testing::ElementsAre(2));
  EXPECT_TRUE(slice.sample && slice.hash_logits && slice.embed);
  EXPECT_EQ(slice.sampling.temperature, 0.5f);
  EXPECT_EQ(slice.sampling.top_p, 0.9f);
  EXPECT_EQ(slice.sampling.seed, 11u);
}

TEST(ParseEndpointsTest, CountAndSizeAreBounded) {
  worker::v1::JoinRequest request;
  request.add_endpoints("a");
  request.add_endpoints("b");
  EXPECT_THAT(ParseEndpoints(request).value(), testing::ElementsAre("a", "b"));
  request.add_endpoints(std::string((64 << 10) + 1, 'x'));
  EXPECT_FALSE(ParseEndpoints(request).ok());
  worker::v1::JoinRequest many;
  for (int i = 0; i < 65; ++i) many.add_endpoints("a");
  EXPECT_FALSE(ParseEndpoints(many).ok());
}

TEST(WriteStepResultTest, ErrorsCarryCodeAndMessage) {
  worker::v1::StepResponse out;
  WriteStepResult(2, 5, absl::ResourceExhaustedError("blocks"), &out);
  EXPECT_EQ(out.membership_epoch(), 2u);
  EXPECT_EQ(out.step_id(), 5u);
  EXPECT_EQ(out.status_code(), 8);
  EXPECT_EQ(out.status_message(), "blocks");
}

TEST(WriteStepResultTest, ResultsCarryEveryField) {
  StepResult result;
  result.compute_seconds = 0.5;
  result.collective_seconds = 0.25;
  result.collective_bytes = 7;
  result.num_collectives = 3;
  result.kv_blocks_used = 9;
  result.results.resize(1);
  result.results[0].sequence_id = 4;
  result.results[0].has_token = true;
  result.results[0].token = 6;
  result.results[0].logprob = -1.5f;
  result.results[0].top = {{6, -1.5f}};
  result.results[0].score_logprobs = {-2.0f};
  result.results[0].logits_digests.resize(2);
  result.results[0].logits_digests[1][0] = 0xab;
  result.results[0].hidden = {1.0f, 2.0f};
  worker::v1::StepResponse out;
  WriteStepResult(2, 5, result, &out);
  EXPECT_EQ(out.status_code(), 0);
  EXPECT_EQ(out.compute_seconds(), 0.5);
  EXPECT_EQ(out.collective_seconds(), 0.25);
  EXPECT_EQ(out.collective_bytes(), 7);
  EXPECT_EQ(out.num_collectives(), 3);
  EXPECT_EQ(out.kv_blocks_used(), 9);
  const worker::v1::SliceResult& slice = out.results(0);
  EXPECT_EQ(slice.token(), 6);
  EXPECT_EQ(slice.top(0).logprob(), -1.5f);
  EXPECT_EQ(slice.score_logprobs(0), -2.0f);
  ASSERT_EQ(slice.logits_digests().size(), 64u);
  EXPECT_EQ(slice.logits_digests()[32], '\xab');
  EXPECT_EQ(slice.hidden().size(), 2);
}

}  // namespace
}  // namespace headwise
