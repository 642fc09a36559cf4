#include "worker/cache/kv_book.h"

#include <random>
#include <set>

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

TEST(KvBookTest, BlocksAreTakenWhenAPositionNeedsThem) {
  KvBook book(/*num_units=*/3, /*capacity_blocks=*/12);
  for (int64_t length = 1; length <= 4 * kKvBlockPositions; ++length) {
    ASSERT_TRUE(book.Append(7, 1).ok());
    EXPECT_EQ(book.Length(7), length);
    EXPECT_EQ(book.used_blocks(), 3 * ((length + 63) / 64));
  }
  const absl::Status status = book.Append(7, 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(absl::StrContains(status.message(), "needs 3 KV blocks, 0 of 12"))
      << status;
  EXPECT_EQ(book.Length(7), 4 * kKvBlockPositions) << "nothing may change";
  book.Free(7);
  EXPECT_EQ(book.used_blocks(), 0);
  EXPECT_FALSE(book.Contains(7));
}

TEST(KvBookTest, RefusedNewSequenceLeavesNoTrace) {
  KvBook book(2, 1);
  EXPECT_FALSE(book.Append(1, 1).ok());
  EXPECT_FALSE(book.Contains(1));
  EXPECT_EQ(book.num_sequences(), 0);
}

TEST(KvBookTest, RankWithoutUnitsKnowsLengths) {
  KvBook book(0, 0);
  ASSERT_TRUE(book.Append(1, 1000).ok());
  EXPECT_EQ(book.Length(1), 1000);
  EXPECT_EQ(book.used_blocks(), 0);
}

// No block has two owners, whatever comes and goes.
TEST(KvBookTest, RandomUseNeverSharesABlock) {
  const uint32_t seed = 20261124;
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  KvBook book(3, 60);
  for (int i = 0; i < 5000; ++i) {
    const uint64_t id = random() % 6;
    if (random() % 4 == 0) {
      book.Free(id);
    } else {
      const int64_t count = random() % 150;
      const int64_t before = book.used_blocks();
      const int64_t needed = book.BlocksNeeded(id, count);
      const bool fits = needed <= 60 - before;
      ASSERT_EQ(book.Append(id, count).ok(), fits);
      ASSERT_EQ(book.used_blocks(), before + (fits ? needed : 0));
    }
    std::set<int32_t> seen;
    for (uint64_t sequence = 0; sequence < 6; ++sequence) {
      if (!book.Contains(sequence)) continue;
      for (int unit = 0; unit < 3; ++unit) {
        const std::vector<int32_t>& table = book.Blocks(sequence, unit);
        ASSERT_EQ(static_cast<int64_t>(table.size()),
                  (book.Length(sequence) + 63) / 64);
        for (int32_t block : table) {
          ASSERT_TRUE(seen.insert(block).second) << block;
          ASSERT_LT(block, 60);
        }
      }
    }
    ASSERT_EQ(static_cast<int64_t>(seen.size()), book.used_blocks());
  }
}

}  // namespace
}  // namespace headwise
