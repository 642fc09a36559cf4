#include "server/attention/block_shares.h"

#include <memory>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace headwise {
namespace {

using Bytes = BytesByWorker;

TEST(BlockSharesTest, AForkAnswersForWhatItDoesNotShare) {
  const BlockShares root({100, 50});
  const BlockShares fork(root, {100, 50}, {60, 30});
  EXPECT_EQ(root.bytes(), (Bytes{100, 50}));
  EXPECT_EQ(fork.bytes(), (Bytes{40, 20}));
}

TEST(BlockSharesTest, TheForkThatSharesMostInherits) {
  std::optional<BlockShares> root;
  root.emplace(Bytes{100});
  const BlockShares less(*root, {100}, {20});
  const BlockShares most(*root, {100}, {60});
  root.reset();
  EXPECT_EQ(most.bytes(), Bytes{100});
  EXPECT_EQ(less.bytes(), Bytes{80}) << "it shares that with the heir";
}

TEST(BlockSharesTest, OfAForkThatGoesItsOriginKeepsItsPart) {
  const BlockShares root({100});
  std::optional<BlockShares> middle;
  middle.emplace(root, Bytes{100}, Bytes{30});
  const BlockShares last(*middle, {100}, {70});
  EXPECT_EQ(last.bytes(), Bytes{30});
  middle.reset();
  EXPECT_EQ(last.bytes(), Bytes{70});
  EXPECT_EQ(root.bytes(), Bytes{100});
}

// Sessions as lists of blocks, against a count of all blocks in use.
TEST(BlockSharesTest, AnyFamilyCountsEachBlockOnce) {
  constexpr uint64_t kSeed = 31;
  std::mt19937_64 random(kSeed);
  struct Session {
    std::vector<int> blocks;
    std::unique_ptr<BlockShares> shares;
  };
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << kSeed << " round " << round);
    constexpr size_t kBlocks = 10;
    int next_block = 0;
    std::vector<Session> sessions(1);
    for (size_t i = 0; i < kBlocks; ++i) {
      sessions[0].blocks.push_back(next_block++);
    }
    sessions[0].shares = std::make_unique<BlockShares>(Bytes{kBlocks});
    for (int step = 0; step < 30 && !sessions.empty(); ++step) {
      const size_t at = random() % sessions.size();
      if (random() % 2 == 0) {
        Session fork;
        const size_t shared = random() % (kBlocks + 1);
        fork.blocks = sessions[at].blocks;
        for (size_t i = shared; i < kBlocks; ++i) {
          fork.blocks[i] = next_block++;
        }
        fork.shares =
            std::make_unique<BlockShares>(*sessions[at].shares, Bytes{kBlocks},
                                          Bytes{static_cast<int64_t>(shared)});
        sessions.push_back(std::move(fork));
      } else {
        sessions.erase(sessions.begin() + static_cast<int64_t>(at));
      }
      std::set<int> in_use;
      int64_t counted = 0;
      for (const Session& session : sessions) {
        in_use.insert(session.blocks.begin(), session.blocks.end());
        counted += session.shares->bytes()[0];
      }
      ASSERT_EQ(counted, static_cast<int64_t>(in_use.size()));
    }
  }
}

}  // namespace
}  // namespace headwise
