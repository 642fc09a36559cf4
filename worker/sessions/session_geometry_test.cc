#include "worker/sessions/session_geometry.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

TEST(SessionGeometryTest, RangesFollowEachOtherFromZeroOn) {
  int64_t begin = 0;
  for (int64_t index = 0; index < 40; ++index) {
    EXPECT_EQ(BeginOfRange(index), begin);
    EXPECT_EQ(RangeIndexOf(begin), index);
    EXPECT_EQ(RangeIndexOf(RangeEnd(begin) - 1), index);
    begin = RangeEnd(begin);
  }
}

TEST(SessionGeometryTest, AStreamingUnitKeepsWhatTheLastQueriesSee) {
  const UnitShare share = {.policy = {.kind = PolicyKind::kStreaming,
                                      .num_sinks = 4,
                                      .window = 100}};
  const int64_t length = 100'000;
  const KeptPositions kept = KeptAt(share, length);
  EXPECT_EQ(kept.sinks_end, 4);
  // The window of the first of the last kMaxQueryRows queries.
  EXPECT_LE(kept.kept_begin, length - kMaxQueryRows + 1 - share.policy.window);
  EXPECT_TRUE(IsBlockKeptAt(share, length, 0));
  EXPECT_FALSE(IsBlockKeptAt(share, length, 1));
  EXPECT_TRUE(IsBlockKeptAt(share, length, kept.kept_begin / 64));
  EXPECT_FALSE(IsBlockKeptAt(share, length, kept.kept_begin / 64 - 1));
}

TEST(SessionGeometryTest, MaxBlocksIsNeverExceededOnTheWay) {
  for (const UnitShare& share :
       {UnitShare{},
        UnitShare{.policy = {.kind = PolicyKind::kStreaming,
                            .num_sinks = 70,
                            .window = 1}},
        UnitShare{.policy = {.kind = PolicyKind::kStreaming,
                            .num_sinks = 0,
                            .window = 5000}},
        UnitShare{.ranges = {0, 3, 16, 18}}}) {
    for (const int64_t max_positions : {1, 64, 65, 5000, 40'000}) {
      const int64_t most = MaxBlocks(share, max_positions);
      for (int64_t length = 0; length < max_positions; length += 997) {
        // Dropped at `length`, then a chunk comes on top.
        const int64_t end =
            std::min(length + kMaxChunkPositions, max_positions);
        int64_t held = 0;
        for (int64_t index = 0; index * 64 < end; ++index) {
          held += HoldsRange(share, RangeIndexOf(64 * index)) &&
                  ((index + 1) * 64 > length ||
                   IsBlockKeptAt(share, length, index));
        }
        EXPECT_LE(held, most) << length << " of " << max_positions;
      }
    }
  }
}

TEST(SessionGeometryTest, RunsNameEachHeldBlockOnceAndStayInARange) {
  const UnitShare share = {.kv_head = 3, .ranges = {0, 2, 16}};
  std::set<int64_t> blocks;
  for (const BlockRun& run : BlockRuns(share, 9000, 5)) {
    EXPECT_EQ(run.kv_head, 3);
    EXPECT_LE(run.num_blocks, 5);
    const int64_t last = run.first_block + run.num_blocks - 1;
    EXPECT_EQ(RangeIndexOf(64 * run.first_block), RangeIndexOf(64 * last));
    for (int64_t b = run.first_block; b <= last; ++b) {
      EXPECT_TRUE(blocks.insert(b).second);
    }
  }
  EXPECT_EQ(blocks.size(), 8 + 8 + (9000 - 8192 + 63) / 64);
}

TEST(SessionGeometryTest, BadShapesAreRefusedByName) {
  const SessionShape good = {.num_kv_heads = 2,
                             .heads_per_kv_head = 1,
                             .head_dim = 64,
                             .max_positions = 1000};
  EXPECT_TRUE(CheckShape(good).ok());
  SessionShape bad = good;
  bad.head_dim = 40;
  EXPECT_THAT(CheckShape(bad).message(), testing::HasSubstr("head_dim: 40"));
  bad = good;
  bad.max_positions = kMaxSessionPositions + 1;
  EXPECT_THAT(CheckShape(bad).message(), testing::HasSubstr("max_positions"));
  EXPECT_FALSE(CheckShares(good, {{.kv_head = 2}}).ok());
  EXPECT_FALSE(CheckShares(good, {{.kv_head = 1}, {.kv_head = 0}}).ok());
  EXPECT_FALSE(CheckShares(good, {{.kv_head = 0, .ranges = {1, 1}}}).ok());
  EXPECT_FALSE(CheckShares(good, {{.kv_head = 0, .ranges = {2}}}).ok());
  EXPECT_FALSE(CheckShares(good, {{.kv_head = 0, .ranges = {-1}}}).ok());
}

}  // namespace
}  // namespace headwise
