#include "server/dispatch/group_former.h"

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/dispatch/cluster_manager_fixture.h"

namespace headwise {
namespace {

using testing::HasSubstr;

// Workers w0 and w1, on a GPU each.
class GroupFormerTest : public testing::Test {
 protected:
  GroupFormerTest() {
    for (int i = 0; i < 2; ++i) {
      Member member;
      member.info.name = absl::StrCat("w", i);
      member.info.host_id = "host";
      member.info.gpu_id = absl::StrCat("gpu", i);
      member.info.nccl_version = 22809;
      member.registration_id = i + 1;
      members_.push_back(member);
      links_.push_back(std::make_shared<FakeWorkerLink>());
    }
  }

  static GroupFormerOptions Options(GroupChoice group) {
    GroupFormerOptions options;
    options.model_path = "m.gguf";
    options.shape = SmallShape();
    options.kv_capacity_bytes = 1 << 20;
    options.group = group;
    return options;
  }
  absl::StatusOr<FormedGroup> Form(GroupFormer& former) {
    FormationFailure failure;
    return former.Form(++epoch_, members_, {links_.begin(), links_.end()},
                       &failure);
  }

  uint64_t epoch_ = 0;
  std::vector<Member> members_;
  std::vector<std::shared_ptr<FakeWorkerLink>> links_;
};

TEST_F(GroupFormerTest, GpusOfTheirOwnAreOrderedToUseNccl) {
  GroupFormer former(Options(GroupChoice::kAuto));
  const auto group = Form(former);
  ASSERT_TRUE(group.ok()) << group.status();
  EXPECT_EQ(group->group, GroupChoice::kNccl);
  for (const auto& link : links_) {
    EXPECT_EQ(link->configs().back().group, GroupChoice::kNccl);
    // The id is in what rank 0 has prepared.
    EXPECT_THAT(link->endpoints(),
                testing::ElementsAre("endpoint 0", "endpoint 1"));
  }
}

TEST_F(GroupFormerTest, ThoseWhoseNcclCantJoinTakeTheHostsWay) {
  GroupFormer former(Options(GroupChoice::kAuto));
  links_[1]->join_status = absl::UnavailableError("no peer-to-peer");
  EXPECT_THAT(Form(former).status().message(),
              HasSubstr("worker w1 could not join: no peer-to-peer"));
  links_[1]->join_status = absl::OkStatus();
  EXPECT_EQ(Form(former)->group, GroupChoice::kSharedMemory);
  EXPECT_EQ(Form(former)->group, GroupChoice::kSharedMemory);
  // Others, or the same ones started anew, are given their chance.
  members_[1].registration_id = 7;
  EXPECT_EQ(Form(former)->group, GroupChoice::kNccl);
}

TEST_F(GroupFormerTest, OneThatIsGoneSaysNothingOfNccl) {
  GroupFormer former(Options(GroupChoice::kAuto));
  links_[1]->join_status = absl::UnavailableError("socket closed");
  links_[1]->probe_status = links_[1]->join_status;
  EXPECT_FALSE(Form(former).ok());
  links_[1] = std::make_shared<FakeWorkerLink>();
  EXPECT_EQ(Form(former)->group, GroupChoice::kNccl);
}

TEST_F(GroupFormerTest, NcclThatWasAskedForIsTriedAgainOrRefusedByName) {
  GroupFormer former(Options(GroupChoice::kNccl));
  links_[1]->join_status = absl::UnavailableError("no peer-to-peer");
  EXPECT_FALSE(Form(former).ok());
  links_[1]->join_status = absl::OkStatus();
  EXPECT_EQ(Form(former)->group, GroupChoice::kNccl);
  members_[1].info.gpu_id = members_[0].info.gpu_id;
  const size_t num_orders = links_[0]->configs().size();
  EXPECT_THAT(Form(former).status().message(),
              HasSubstr("workers w0 and w1 run on one GPU"));
  EXPECT_EQ(links_[0]->configs().size(), num_orders);
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
