#include "worker/step/worker_config.h"

#include "gtest/gtest.h"

namespace headwise {
namespace {

TEST(GroupChoiceTest, NamesAreReadBack) {
  for (const GroupChoice choice :
       {GroupChoice::kAuto, GroupChoice::kInProcess, GroupChoice::kSharedMemory,
        GroupChoice::kGloo, GroupChoice::kNccl}) {
    const auto parsed = ParseGroupChoice(GroupChoiceName(choice));
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(*parsed, choice);
  }
  EXPECT_EQ(ParseGroupChoice("shm").value(), GroupChoice::kSharedMemory);
  EXPECT_EQ(ParseGroupChoice("mpi").status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ShardTest, CountsPiecesOfAllLayers) {
  const Shard shard = {.layers = {{{0, 2}, {1}}, {{1}, {0, 2, 3}}}};
  EXPECT_EQ(shard.num_units(), 3);
  EXPECT_EQ(shard.num_mlp_tiles(), 4);
}

}  // namespace
}  // namespace headwise
