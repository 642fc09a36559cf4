#include "server/coordinator/cluster_state.h"

#include <memory>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/test_stub_model.h"

namespace headwise {
namespace {

TEST(MakeHeadMapTest, ShowsEveryUnitAndWhatWasPrepared) {
  Hyperparameters hyper;
  hyper.num_layers = 2;
  hyper.num_heads = 9;
  hyper.num_kv_heads = 3;
  hyper.max_context_len = 8192;
  ModelShape shape;
  shape.unit_weight_bytes = 11;
  shape.kv_bytes_per_unit_position = 256;
  auto group = std::make_shared<FormedGroup>();
  group->membership_epoch = 5;
  group->group = GroupChoice::kSharedMemory;
  group->members.resize(2);
  group->members[1].info.name = "b";
  group->members[1].info.address = "h:1";
  group->members[1].info.speed = 0.5;
  group->members[1].info.build.version = "next";
  group->protocol = 4;
  group->plan.placement = {2, {{0, 0, 1}, {0, 1, 1}}, {{0}, {1}}, {0}};
  group->plan.ranks.resize(2);
  group->plan.ranks[1].num_units = 3;
  group->plan.ranks[1].kv_bytes_per_position = 768;
  group->plan.ranks[1].decode_ms = 0.5;
  group->plan.decode_ms = 1.5;
  group->prepared = {{"", 100, 30}, {"", 200, 40}};
  group->kv_capacity_tokens = 640;

  const HeadMap map =
      MakeHeadMap("m", hyper, shape, {.serving = true, .group = group});
  EXPECT_EQ(map.world_size, 2);
  EXPECT_EQ(map.membership_epoch, 5u);
  EXPECT_EQ(map.group_kind, "shared-memory");
  ASSERT_EQ(map.workers.size(), 2u);
  EXPECT_EQ(map.protocol, 4u);
  EXPECT_EQ(map.workers[1].name, "b");
  EXPECT_EQ(map.workers[1].version, "next");
  EXPECT_EQ(map.workers[1].rank, 1);
  EXPECT_EQ(map.workers[1].speed, 0.5);
  EXPECT_EQ(map.workers[1].num_units, 3);
  EXPECT_EQ(map.workers[1].weight_bytes, 200);
  EXPECT_EQ(map.workers[1].kv_capacity_bytes, 40 * 64 * 256);
  EXPECT_EQ(map.workers[1].kv_bytes_per_token, 768);
  ASSERT_EQ(map.units.size(), 6u);
  EXPECT_EQ(map.units[4].layer, 1);
  EXPECT_EQ(map.units[4].kv_head, 1);
  EXPECT_EQ(map.units[4].rank, 1);
  EXPECT_EQ(map.units[4].weight_bytes, 11);
  EXPECT_EQ(map.forecast_ms_per_token, 1.5);
  EXPECT_EQ(map.max_context_len, 640);
}

TEST(MakeHeadMapTest, ShowsWhereContextsAreCut) {
  Hyperparameters hyper;
  hyper.num_layers = 1;
  hyper.num_kv_heads = 2;
  auto group = std::make_shared<FormedGroup>();
  group->plan.placement = {3, {{2, 1}}, {}, {}, {{{2, 0, 2, 0}, {1, 1}}}};
  const HeadMap map = MakeHeadMap("m", hyper, {}, {.group = group});
  ASSERT_EQ(map.units.size(), 2u);
  EXPECT_THAT(map.units[0].context_ranks, testing::ElementsAre(0, 2));
  EXPECT_THAT(map.units[1].context_ranks, testing::IsEmpty());
}

TEST(MakeHeadMapTest, WithoutAGroupThereAreNoWorkers) {
  Hyperparameters hyper;
  hyper.num_layers = 2;
  const HeadMap map = MakeHeadMap("m", hyper, {}, {});
  EXPECT_EQ(map.model, "m");
  EXPECT_EQ(map.num_layers, 2);
  EXPECT_EQ(map.world_size, 0);
  EXPECT_TRUE(map.workers.empty());
  EXPECT_EQ(map.max_context_len, 0);
}

TEST(LiveClusterStateTest, MakesOneMapForEachGroup) {
  class : public StubModel {
  } model;
  ClusterStatus status;
  status.detail = "no worker has come yet";
  Membership membership({}, Clock::Monotonic());
  const LiveClusterState state("m", model, {}, membership,
                               [&] { return status; });
  EXPECT_EQ(state.detail(), "no worker has come yet");
  const auto none = state.head_map();
  EXPECT_EQ(none->world_size, 0);
  EXPECT_EQ(state.head_map(), none);
  auto group = std::make_shared<FormedGroup>();
  group->plan.placement.world_size = 2;
  status.group = group;
  const auto two = state.head_map();
  EXPECT_EQ(two->world_size, 2);
  EXPECT_EQ(state.head_map(), two);
  status.group = nullptr;
  EXPECT_EQ(state.head_map()->world_size, 0);
}

TEST(LiveClusterStateTest, NamesWhoIsHereAndDoesNotServeAndWhoIsNotHere) {
  class : public StubModel {
  } model;
  Membership membership({}, Clock::Monotonic());
  MemberInfo info;
  info.name = "serves";
  info.address = "h:1";
  ASSERT_TRUE(membership.Register(info).ok());
  auto group = std::make_shared<FormedGroup>();
  group->members = membership.view()->members;
  info.name = "waits";
  info.address = "h:2";
  ASSERT_TRUE(membership.Register(info).ok());
  membership.Report("nowhere.example:7001", "DNS resolution failed");
  const LiveClusterState state("m", model, {}, membership, [&] {
    return ClusterStatus{.serving = true, .group = group};
  });
  const std::vector<MissingMember> missing = state.missing_workers();
  ASSERT_EQ(missing.size(), 2u);
  EXPECT_EQ(missing[0].name, "waits");
  EXPECT_THAT(missing[0].reason, testing::HasSubstr("at h:2, is here"));
  EXPECT_EQ(missing[1].name, "nowhere.example:7001");
  EXPECT_EQ(missing[1].reason, "DNS resolution failed");
  EXPECT_THAT(state.worker_arrivals(),
              testing::ElementsAre(testing::Pair("serves", 1),
                                   testing::Pair("waits", 1)));
}

}  // namespace
}  // namespace headwise
