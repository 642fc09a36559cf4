#include "worker/step/step_errors.h"

#include <optional>
#include <vector>

#include "gtest/gtest.h"

namespace headwise {
namespace {

using Ranks = std::vector<int>;

Ranks LateOf(const char* message) {
  return LateRanks(absl::DeadlineExceededError(message));
}

TEST(LateRanksTest, ReadsWhoWasWaitedFor) {
  EXPECT_EQ(LateOf("rank 0 waited 2.5s for rank 1 in epoch 7"), Ranks{1});
  EXPECT_EQ(LateOf("rank 2 waited 2.5s for rank 0, 13 in epoch 7"),
            (Ranks{0, 13}));
  EXPECT_EQ(LateOf("rank 1 ended the group: rank 1 waited 50ms for rank 2 in "
                   "epoch 1700000000000"),
            Ranks{2});
}

TEST(LateRanksTest, NobodyInAnyOtherError) {
  for (const char* message :
       {"", "rank 0 waited", "rank 0 waited 2.5s for rank 1",
        "rank 0 waited 2.5s for rank x in epoch 7",
        "rank 0 waited 2.5s for rank 1,2 in epoch 7",
        "nobody set rank 1 in epoch 3",
        "rank 0 waited 2.5s in epoch 7 for rank 1"}) {
    EXPECT_EQ(LateOf(message), Ranks()) << message;
  }
  EXPECT_EQ(LateRanks(absl::UnavailableError(
                "rank 0 waited 2.5s for rank 1 in epoch 7")),
            Ranks());
}

TEST(RankOfChangedWeightsTest, IsReadOfWhatAnotherRankTells) {
  const auto rank_of = [](const char* message) {
    return RankOfChangedWeights(absl::UnavailableError(message));
  };
  EXPECT_EQ(rank_of("rank 12 ended the group: weights have changed in memory: "
                    "layer 1, KV head 0 has CRC-32C 1, packed were 2"),
            12);
  EXPECT_EQ(rank_of("rank 0 ended the group: no more work"), std::nullopt);
  EXPECT_EQ(rank_of("rank x ended the group: weights have changed in memory: "),
            std::nullopt);
  EXPECT_EQ(rank_of("weights have changed in memory: layer 1"), std::nullopt);
  EXPECT_EQ(rank_of(""), std::nullopt);
}

}  // namespace
}  // namespace headwise
