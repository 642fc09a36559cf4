#include "worker/step_wire/prepare_wire.h"

#include <cstdint>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

worker::v1::PrepareResponse::Prepared Prepared() {
  worker::v1::PrepareResponse::Prepared prepared;
  prepared.set_endpoint("at=host:1");
  prepared.set_weight_bytes(1000);
  prepared.set_kv_capacity_blocks(std::numeric_limits<int32_t>::max());
  return prepared;
}

TEST(PreparedWireTest, EveryFieldComesBack) {
  worker::v1::PrepareResponse response;
  WritePrepared({.endpoint = "at=host:1",
                 .weight_bytes = 1000,
                 .kv_capacity_blocks = 7,
                 .loaded_weight_bytes = 600},
                &response);
  const auto prepared = ParsePrepared(response.prepared());
  ASSERT_TRUE(prepared.ok()) << prepared.status();
  EXPECT_EQ(prepared->endpoint, "at=host:1");
  EXPECT_EQ(prepared->weight_bytes, 1000);
  EXPECT_EQ(prepared->loaded_weight_bytes, 600);
  EXPECT_EQ(prepared->kv_capacity_blocks, 7);
}

TEST(ParsePreparedTest, LargestValuesAreTaken) {
  auto prepared = Prepared();
  EXPECT_TRUE(ParsePrepared(prepared).ok());
  prepared.set_endpoint(std::string(65536, '~'));
  EXPECT_TRUE(ParsePrepared(prepared).ok());
}

TEST(ParsePreparedTest, EndpointMustBePrintableAndOfOneTo65536Bytes) {
  for (const std::string& endpoint :
       {std::string(), std::string(65537, 'x'), std::string("a\0b", 3),
        std::string("a\n"), std::string("\x7f"), std::string("\xff")}) {
    auto prepared = Prepared();
    prepared.set_endpoint(endpoint);
    const absl::Status status = ParsePrepared(prepared).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument)
        << endpoint.size();
    EXPECT_THAT(status.message(), HasSubstr("endpoint"));
  }
}

// 64 positions of 1024 bytes in each block must not overflow 64 bits.
TEST(ParsePreparedTest, SizesOutOfRangeAreRefused) {
  for (const int64_t blocks : {int64_t{-1}, int64_t{1} << 31}) {
    auto prepared = Prepared();
    prepared.set_kv_capacity_blocks(blocks);
    EXPECT_THAT(ParsePrepared(prepared).status().message(),
                HasSubstr("kv_capacity_blocks"));
  }
  auto prepared = Prepared();
  prepared.set_weight_bytes(-1);
  EXPECT_THAT(ParsePrepared(prepared).status().message(),
              HasSubstr("weight_bytes"));
  prepared = Prepared();
  prepared.set_loaded_weight_bytes(1001);
  EXPECT_THAT(ParsePrepared(prepared).status().message(),
              HasSubstr("loaded_weight_bytes 1001, allowed 0 to 1000"));
}

WorkerConfig GoodConfig() {
  WorkerConfig config;
  config.membership_epoch = 3;
  config.model_path = "m";
  config.model_sha256 = "ab";
  config.rank = 1;
  config.world_size = 2;
  config.shard.rank = 1;
  config.shard.layers = {{{2}, {4}, {{2, 1, {0, 1, 1}}}}};
  config.shard.vocab_tiles = {5};
  config.shard.vocab_tile_rank = {1};
  config.group = GroupChoice::kGloo;
  config.group_timeout = absl::Milliseconds(1500);
  config.reduction = ReductionMode::kFast;
  config.kv_type = KvType::kInt8;
  config.kv_capacity_bytes = 77;
  config.max_step_tokens = 9;
  return config;
}

TEST(PrepareWireTest, EveryFieldComesBack) {
  worker::v1::PrepareRequest request;
  WritePrepare(GoodConfig(), &request);
  const auto config = ParsePrepare(request);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->membership_epoch, 3u);
  EXPECT_EQ(config->model_path, "m");
  EXPECT_EQ(config->model_sha256, "ab");
  EXPECT_EQ(config->rank, 1);
  EXPECT_EQ(config->world_size, 2);
  ASSERT_EQ(config->shard.layers.size(), 1u);
  EXPECT_THAT(config->shard.layers[0].units, ElementsAre(2));
  EXPECT_THAT(config->shard.layers[0].mlp_tiles, ElementsAre(4));
  EXPECT_EQ(config->shard.rank, 1);
  EXPECT_EQ(config->shard.layers[0].cuts, GoodConfig().shard.layers[0].cuts);
  EXPECT_THAT(config->shard.vocab_tiles, ElementsAre(5));
  EXPECT_THAT(config->shard.vocab_tile_rank, ElementsAre(1));
  EXPECT_EQ(config->group, GroupChoice::kGloo);
  EXPECT_EQ(config->group_timeout, absl::Milliseconds(1500));
  EXPECT_EQ(config->reduction, ReductionMode::kFast);
  EXPECT_EQ(config->kv_type, KvType::kInt8);
  EXPECT_EQ(config->kv_capacity_bytes, 77);
  EXPECT_EQ(config->max_step_tokens, 9);
}

TEST(PrepareWireTest, EveryKindOfGroupComesBack) {
  for (const GroupChoice group :
       {GroupChoice::kInProcess, GroupChoice::kSharedMemory, GroupChoice::kGloo,
        GroupChoice::kNccl}) {
    WorkerConfig config = GoodConfig();
    config.group = group;
    worker::v1::PrepareRequest request;
    WritePrepare(config, &request);
    EXPECT_EQ(ParsePrepare(request)->group, group);
  }
}

// What a struct can't hold; ranges are CheckConfig's.
TEST(ParsePrepareTest, HostileFieldsAreRefused) {
  const auto refused = [](auto change) {
    worker::v1::PrepareRequest request;
    WritePrepare(GoodConfig(), &request);
    change(request);
    return absl::IsInvalidArgument(ParsePrepare(request).status());
  };
  EXPECT_FALSE(refused([](auto&) {}));
  EXPECT_TRUE(refused([](auto& r) { r.set_rank(UINT32_MAX); }));
  EXPECT_TRUE(refused([](auto& r) { r.set_world_size(UINT32_MAX); }));
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
  const auto refused_cut = [&](auto change) {
    return refused([&](auto& r) {
      change(*r.mutable_shard()->mutable_layers(0)->mutable_cuts(0));
    });
  };
  EXPECT_TRUE(refused_cut([](auto& c) { c.set_kv_head(1u << 31); }));
  EXPECT_TRUE(refused_cut([](auto& c) { c.set_owner(2); }));
  EXPECT_TRUE(refused_cut([](auto& c) { c.add_rank_of_range(2); }));
  EXPECT_TRUE(refused_cut([](auto& c) { c.clear_rank_of_range(); }));
  EXPECT_TRUE(refused_cut([](auto& c) {
    for (int i = 0; i < kMaxRangesPerDeal; ++i) c.add_rank_of_range(0);
  }));
}

TEST(ParseEndpointsTest, CountAndSizeAreBounded) {
  worker::v1::JoinRequest request;
  request.add_endpoints("a");
  request.add_endpoints("b");
  EXPECT_THAT(ParseEndpoints(request).value(), ElementsAre("a", "b"));
  request.add_endpoints(std::string((64 << 10) + 1, 'x'));
  EXPECT_FALSE(ParseEndpoints(request).ok());
  worker::v1::JoinRequest many;
  for (int i = 0; i < 65; ++i) many.add_endpoints("a");
  EXPECT_FALSE(ParseEndpoints(many).ok());
}

}  // namespace
}  // namespace headwise
