#include "server/dispatch/group_choice.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::HasSubstr;

constexpr uint32_t kVersion = 22809;

// On host `host`; without a GPU, or with one and NCCL.
Member On(const std::string& host) {
  Member member;
  member.info.host_id = host;
  return member;
}
Member OnGpu(const std::string& host, const std::string& gpu_id,
             uint32_t nccl_version = kVersion) {
  Member member = On(host);
  member.info.gpu_id = gpu_id;
  member.info.nccl_version = nccl_version;
  return member;
}

// Named a, b, c, ...
std::vector<Member> Named(std::vector<Member> members) {
  for (size_t i = 0; i < members.size(); ++i) {
    members[i].info.name = std::string(1, static_cast<char>('a' + i));
  }
  return members;
}

GroupChoice Auto(std::vector<Member> members) {
  return ResolveGroup(GroupChoice::kAuto, Named(std::move(members))).value();
}

TEST(ResolveGroupTest, SharedMemoryOnlyIfAllHostsAreKnownAndEqual) {
  EXPECT_EQ(Auto({On("h")}), GroupChoice::kSharedMemory);
  EXPECT_EQ(Auto({On("h"), On("h")}), GroupChoice::kSharedMemory);
  EXPECT_EQ(Auto({On("h"), On("i")}), GroupChoice::kGloo);
  EXPECT_EQ(Auto({On(""), On("")}), GroupChoice::kGloo);
}

TEST(ResolveGroupTest, SeveralGpusOfTheirOwnTakeNcclOnAnyHosts) {
  EXPECT_EQ(Auto({OnGpu("h", "0"), OnGpu("h", "1")}), GroupChoice::kNccl);
  EXPECT_EQ(Auto({OnGpu("h", "0"), OnGpu("i", "1"), OnGpu("", "2")}),
            GroupChoice::kNccl);
  // One has nobody to add up with.
  EXPECT_EQ(Auto({OnGpu("h", "0")}), GroupChoice::kSharedMemory);
}

struct Mix {
  std::vector<Member> members;
  GroupChoice fallback = GroupChoice::kAuto;
  std::string refusal;  // of --group nccl
};

TEST(ResolveGroupTest, AnyOtherMixGoesThroughHostsOrIsRefusedByName) {
  const Mix mixes[] = {
      {{OnGpu("h", "0"), On("h")},
       GroupChoice::kSharedMemory,
       "worker b has no NCCL"},
      {{On("i"), OnGpu("h", "0")}, GroupChoice::kGloo, "worker a has no NCCL"},
      // A build for GPUs without NCCL.
      {{OnGpu("h", "0"), OnGpu("h", "1", 0)},
       GroupChoice::kSharedMemory,
       "worker b has no NCCL"},
      {{OnGpu("h", ""), OnGpu("h", "1")},
       GroupChoice::kSharedMemory,
       "worker a has no NCCL"},
      {{OnGpu("h", "0"), OnGpu("h", "1"), OnGpu("h", "0")},
       GroupChoice::kSharedMemory,
       "workers a and c run on one GPU"},
      {{OnGpu("h", "0"), OnGpu("i", "1", 22703)},
       GroupChoice::kGloo,
       "worker b has version 22703 of NCCL, worker a has 22809"},
  };
  for (const Mix& mix : mixes) {
    SCOPED_TRACE(mix.refusal);
    EXPECT_EQ(Auto(mix.members), mix.fallback);
    const absl::Status refused =
        ResolveGroup(GroupChoice::kNccl, Named(mix.members)).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr(mix.refusal));
  }
}

TEST(ResolveGroupTest, WhatTheOperatorAskedForIsTaken) {
  const std::vector<Member> gpus = Named({OnGpu("h", "0"), OnGpu("h", "1")});
  for (const GroupChoice choice :
       {GroupChoice::kSharedMemory, GroupChoice::kGloo, GroupChoice::kNccl}) {
    EXPECT_EQ(ResolveGroup(choice, gpus).value(), choice);
  }
  EXPECT_EQ(ResolveGroup(GroupChoice::kNccl, {gpus[0]}).value(),
            GroupChoice::kNccl);
}

}  // namespace
}  // namespace headwise
