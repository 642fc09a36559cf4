#include "server/dispatch/group_former.h"

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace headwise {
namespace {

TEST(ResolveGroupTest, SharedMemoryOnlyIfAllHostsAreKnownAndEqual) {
  const auto members = [](std::vector<std::string> hosts) {
    std::vector<Member> out;
    for (const std::string& host : hosts) {
      out.emplace_back();
      out.back().info.host_id = host;
    }
    return out;
  };
  const auto resolve = [&](std::vector<std::string> hosts) {
    return ResolveGroup(GroupChoice::kAuto, members(std::move(hosts)));
  };
  EXPECT_EQ(resolve({"h"}), GroupChoice::kSharedMemory);
  EXPECT_EQ(resolve({"h", "h"}), GroupChoice::kSharedMemory);
  EXPECT_EQ(resolve({"h", "i"}), GroupChoice::kGloo);
  EXPECT_EQ(resolve({"", ""}), GroupChoice::kGloo);
  EXPECT_EQ(ResolveGroup(GroupChoice::kGloo, members({"h", "h"})),
            GroupChoice::kGloo);
}

TEST(KvCapacityTokensTest, LeastOverRanksThatHoldUnits) {
  PlacementPlan plan;
  plan.ranks.resize(3);
  plan.ranks[0].kv_bytes_per_position = 4 * 256;
  plan.ranks[1].kv_bytes_per_position = 2 * 256;
  const std::vector<PreparedShard> prepared = {
      {"", 0, 11}, {"", 0, 7}, {"", 0, 0}};
  EXPECT_EQ(KvCapacityTokens(plan, prepared, 256), 2 * 64);
}

TEST(KvCapacityTokensTest, SharesOfCutContextsNeedNotBeWholeUnits) {
  PlacementPlan plan;
  plan.ranks.resize(2);
  plan.ranks[0].kv_bytes_per_position = 3 * 256 / 2;
  plan.ranks[1].kv_bytes_per_position = 3 * 256 / 2;
  const std::vector<PreparedShard> prepared = {{"", 0, 9}, {"", 0, 10}};
  EXPECT_EQ(KvCapacityTokens(plan, prepared, 256), 6 * 64);
}

TEST(KvCapacityOfTest, BytesByRankAndRanksByUnit) {
  PlacementPlan plan;
  plan.placement.unit_rank = {{0, 0, 1}, {1, 0, 0}};
  const std::vector<PreparedShard> prepared = {{"", 0, 11}, {"", 0, 7}};
  const KvCapacity capacity = KvCapacityOf(plan, prepared, 10);
  EXPECT_EQ(capacity.unit_rank, (std::vector<int>{0, 0, 1, 1, 0, 0}));
  EXPECT_EQ(capacity.rank_bytes, (std::vector<int64_t>{11 * 640, 7 * 640}));
  EXPECT_TRUE(capacity.range_rank.empty());
  plan.placement.range_rank = {{{0}, {0, 1}, {1}}, {{1}, {0}, {0}}};
  EXPECT_EQ(KvCapacityOf(plan, prepared, 10).range_rank[1],
            (std::vector<int>{0, 1}));
}

}  // namespace
}  // namespace headwise
