#include "worker/cache/kv_book.h"

#include <limits>
#include <map>
#include <random>
#include <set>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "model/head_plan/kv_retention.h"

namespace headwise {
namespace {

constexpr int64_t kAllPrompt = std::numeric_limits<int64_t>::max();
constexpr int64_t kBlockBytes = 100;

KvBookOptions Options(int64_t num_units, int64_t capacity_blocks) {
  KvBookOptions options;
  options.num_units = num_units;
  options.capacity_bytes = capacity_blocks * kBlockBytes;
  options.class_bytes = {kBlockBytes, 3 * kBlockBytes};
  options.head_dim = 16;
  return options;
}

std::vector<UnitStorage> Full(int64_t num_units) {
  return std::vector<UnitStorage>(static_cast<size_t>(num_units));
}

UnitStorage Streaming(int64_t sinks, int64_t window) {
  UnitStorage storage;
  storage.policy.kind = PolicyKind::kStreaming;
  storage.policy.num_sinks = sinks;
  storage.policy.window = window;
  return storage;
}

UnitStorage LongHeads(int64_t chunk_len) {
  UnitStorage storage;
  storage.policy.kind = PolicyKind::kLongHeads;
  storage.policy.chunk_len = chunk_len;
  storage.policy.num_chunks = 4;
  return storage;
}

int64_t CountLive(const KvBook& book, uint64_t id, int64_t unit) {
  int64_t count = 0;
  for (const int32_t block : book.Blocks(id, unit)) {
    count += block != KvBook::kDropped ? 1 : 0;
  }
  return count;
}

TEST(KvBookTest, BlocksAreTakenWhenAPositionNeedsThem) {
  KvBook book(Options(3, 12));
  book.Open(7, Full(3), kAllPrompt);
  for (int64_t length = 1; length <= 4 * kKvBlockPositions; ++length) {
    ASSERT_TRUE(book.Append(7, 1).ok());
    EXPECT_EQ(book.Length(7), length);
    EXPECT_EQ(book.used_bytes(), 3 * ((length + 63) / 64) * kBlockBytes);
  }
  const absl::Status status = book.Append(7, 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(absl::StrContains(status.message(),
                                "needs 300 bytes of KV, 0 of 1200 are free"))
      << status;
  EXPECT_EQ(book.Length(7), 4 * kKvBlockPositions) << "nothing may change";
  book.Free(7);
  EXPECT_EQ(book.used_bytes(), 0);
  EXPECT_FALSE(book.Contains(7));
}

TEST(KvBookTest, RankWithoutUnitsKnowsLengths) {
  KvBook book(Options(0, 0));
  book.Open(1, {}, kAllPrompt);
  ASSERT_TRUE(book.Append(1, 1000).ok());
  EXPECT_EQ(book.Length(1), 1000);
  EXPECT_EQ(book.used_bytes(), 0);
}

TEST(KvBookTest, ABlockCountsTheBytesOfItsClass) {
  KvBook book(Options(2, 8));
  std::vector<UnitStorage> units = Full(2);
  units[1].block_class = 1;
  book.Open(1, units, kAllPrompt);
  EXPECT_EQ(book.BytesNeeded(1, 65), 2 * (1 + 3) * kBlockBytes);
  ASSERT_TRUE(book.Append(1, 65).ok());
  EXPECT_EQ(book.used_bytes(), 8 * kBlockBytes);
  EXPECT_EQ(book.ids_in_use(0), 2);
  EXPECT_EQ(book.ids_in_use(1), 2);
}

TEST(KvBookTest, StreamingUnitHoldsConstantBytes) {
  KvBook book(Options(1, 100));
  book.Open(1, {Streaming(4, 256)}, kAllPrompt);
  int64_t most = 0;
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(book.Append(1, 1).ok());
    book.Trim(1);
    ASSERT_EQ(CountLive(book, 1, 0),
              BlocksHeld(Streaming(4, 256).policy, i + 1, kAllPrompt));
    ASSERT_EQ(book.used_bytes(), CountLive(book, 1, 0) * kBlockBytes);
    most = std::max(most, book.used_bytes());
  }
  EXPECT_EQ(most, 6 * kBlockBytes) << "a sink's block and 256 positions";
}

TEST(KvBookTest, MaxBytesNeededCoversRowsThatComeInBatches) {
  for (const int64_t begin : {0, 1, 63, 64, 300, 1000}) {
    for (const int64_t rows : {1, 64, 255, 256, 511, 2000}) {
      KvBook book(Options(2, 1000));
      book.Open(1, {Streaming(4, 100), Streaming(0, 1)}, kAllPrompt);
      ASSERT_TRUE(book.Append(1, begin).ok());
      book.Trim(1);
      const int64_t before = book.used_bytes();
      const int64_t allowed = book.MaxBytesNeeded(1, rows);
      for (int64_t done = 0; done < rows; done += kRowsBeforeDrop) {
        ASSERT_TRUE(
            book.Append(1, std::min(kRowsBeforeDrop, rows - done)).ok());
        EXPECT_LE(book.used_bytes() - before, allowed) << begin << " " << rows;
        book.Trim(1);
      }
    }
  }
}

TEST(KvBookTest, ForkSharesWholeBlocksAndCopiesTheLast) {
  KvBook book(Options(2, 20));
  book.Open(1, Full(2), kAllPrompt);
  ASSERT_TRUE(book.Append(1, 130).ok());
  const int64_t before = book.used_bytes();
  const auto copies = book.Fork(2, 1, 130, Full(2), kAllPrompt);
  ASSERT_TRUE(copies.ok()) << copies.status();
  ASSERT_EQ(copies->size(), 2u);
  EXPECT_EQ(book.used_bytes() - before, 2 * kBlockBytes);
  for (int64_t unit = 0; unit < 2; ++unit) {
    EXPECT_EQ(book.Blocks(1, unit)[1], book.Blocks(2, unit)[1]);
    EXPECT_NE(book.Blocks(1, unit)[2], book.Blocks(2, unit)[2]);
    EXPECT_EQ((*copies)[unit].from, book.Blocks(1, unit)[2]);
    EXPECT_EQ((*copies)[unit].to, book.Blocks(2, unit)[2]);
  }
  book.Free(1);
  EXPECT_EQ(book.used_bytes(), 6 * kBlockBytes) << "shared blocks live on";
  book.Free(2);
  EXPECT_EQ(book.used_bytes(), 0);
}

TEST(KvBookTest, ForkIntoAStreamingPlanDropsOnlyItsOwnHold) {
  KvBook book(Options(1, 30));
  book.Open(1, Full(1), kAllPrompt);
  ASSERT_TRUE(book.Append(1, 640).ok());
  ASSERT_TRUE(book.Fork(2, 1, 640, {Streaming(4, 64)}, kAllPrompt).ok());
  ASSERT_TRUE(book.Append(2, 64).ok());
  book.Trim(2);
  EXPECT_EQ(CountLive(book, 1, 0), 10);
  EXPECT_EQ(CountLive(book, 2, 0),
            BlocksHeld(Streaming(4, 64).policy, 704, kAllPrompt));
  EXPECT_EQ(book.used_bytes(), 11 * kBlockBytes);
}

TEST(KvBookTest, ForkIsRefusedWhereTheSourceLacksWhatItNeeds) {
  KvBook book(Options(1, 100));
  book.Open(1, {Streaming(4, 64)}, kAllPrompt);
  ASSERT_TRUE(book.Append(1, 640).ok());
  book.Trim(1);
  const int64_t before = book.used_bytes();
  const auto refused = [&](int64_t length, UnitStorage unit,
                           const std::string& text) {
    const auto fork = book.Fork(2, 1, length, {unit}, kAllPrompt);
    EXPECT_EQ(fork.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_TRUE(absl::StrContains(fork.status().message(), text))
        << fork.status();
    EXPECT_FALSE(book.Contains(2));
    EXPECT_EQ(book.used_bytes(), before);
  };
  refused(640, {}, "has dropped positions from 64 on");
  refused(300, Streaming(4, 64), "has dropped positions");
  refused(640, LongHeads(64), "stored otherwise");
}

TEST(KvBookTest, LongHeadsForksAtItsEndOrAtWholeChunks) {
  KvBook book(Options(1, 1000));
  book.Open(1, {LongHeads(128)}, kAllPrompt);
  ASSERT_TRUE(book.Append(1, 300).ok());
  EXPECT_TRUE(book.Fork(2, 1, 300, {LongHeads(128)}, kAllPrompt).ok());
  EXPECT_TRUE(book.Fork(3, 1, 256, {LongHeads(128)}, kAllPrompt).ok());
  EXPECT_FALSE(book.Fork(4, 1, 200, {LongHeads(128)}, kAllPrompt).ok());
}

TEST(KvBookTest, RestoredSequenceHoldsWhatATrimmedOneHolds) {
  KvBook book(Options(2, 40));
  const std::vector<UnitStorage> units = {{}, Streaming(4, 100)};
  book.Open(1, units, kAllPrompt);
  ASSERT_TRUE(book.Append(1, 700).ok());
  book.Trim(1);
  const int64_t used = book.used_bytes();
  ASSERT_TRUE(book.Restore(2, 700, units, kAllPrompt).ok());
  EXPECT_EQ(book.used_bytes(), 2 * used);
  EXPECT_EQ(book.Length(2), 700);
  for (int unit = 0; unit < 2; ++unit) {
    ASSERT_EQ(book.Blocks(2, unit).size(), book.Blocks(1, unit).size());
    for (size_t b = 0; b < book.Blocks(1, unit).size(); ++b) {
      EXPECT_EQ(book.Blocks(1, unit)[b] == KvBook::kDropped,
                book.Blocks(2, unit)[b] == KvBook::kDropped);
    }
  }
  const absl::Status full = book.Restore(3, 700, units, kAllPrompt);
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted) << full;
  EXPECT_EQ(book.used_bytes(), 2 * used) << "nothing may change";
  EXPECT_FALSE(book.Contains(3));
  book.Free(2);
  EXPECT_EQ(book.used_bytes(), used);
}

// No block has more owners than tables that name it, whatever comes and goes.
TEST(KvBookTest, RandomUseKeepsTheBooksExact) {
  const uint32_t seed = 20261126;
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  KvBook book(Options(2, 60));
  const std::vector<UnitStorage> units = {{}, Streaming(70, 100)};
  for (int i = 0; i < 5000; ++i) {
    const uint64_t id = random() % 6;
    const uint64_t other = random() % 6;
    if (random() % 5 == 0) {
      book.Free(id);
    } else if (!book.Contains(id) && book.Contains(other)) {
      const int64_t length =
          book.Length(other) > 0 ? random() % book.Length(other) : 0;
      book.Fork(id, other, length, units, kAllPrompt).IgnoreError();
    } else {
      if (!book.Contains(id)) book.Open(id, units, kAllPrompt);
      const int64_t count = random() % 150;
      const bool fits = book.BytesNeeded(id, count) <=
                        book.capacity_bytes() - book.used_bytes();
      ASSERT_EQ(book.Append(id, count).ok(), fits);
      book.Trim(id);
    }
    std::set<int32_t> seen;
    for (uint64_t sequence = 0; sequence < 6; ++sequence) {
      if (!book.Contains(sequence)) continue;
      for (int unit = 0; unit < 2; ++unit) {
        for (const int32_t block : book.Blocks(sequence, unit)) {
          if (block != KvBook::kDropped) seen.insert(block);
        }
      }
    }
    ASSERT_EQ(static_cast<int64_t>(seen.size()) * kBlockBytes,
              book.used_bytes());
  }
}

}  // namespace
}  // namespace headwise
