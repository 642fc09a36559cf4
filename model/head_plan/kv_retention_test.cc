#include "model/head_plan/kv_retention.h"

#include <algorithm>

#include "gtest/gtest.h"

namespace headwise {
namespace {

UnitPolicy Streaming(int64_t sinks, int64_t window) {
  UnitPolicy policy;
  policy.kind = PolicyKind::kStreaming;
  policy.num_sinks = sinks;
  policy.window = window;
  return policy;
}

UnitPolicy Razor(int64_t sinks, int64_t window, int64_t divisor) {
  UnitPolicy policy = Streaming(sinks, window);
  policy.kind = PolicyKind::kRazor;
  policy.window_divisor = divisor;
  return policy;
}

int64_t CountKept(const UnitPolicy& policy, int64_t length, int64_t prompt) {
  const KeptSpans kept = KeptOf(policy, length, prompt);
  int64_t count = 0;
  for (int64_t b = 0; b * kRetentionBlock < length; ++b) {
    count += IsBlockKept(kept, b) ? 1 : 0;
  }
  return count;
}

TEST(KvRetention, NextQueryFindsWindowAndSinks) {
  const UnitPolicy policy = Streaming(4, 256);
  const KeptSpans kept = KeptOf(policy, 1000, 0);
  EXPECT_EQ(kept.sinks_end, 4);
  EXPECT_EQ(kept.kept_begin, 1000 - 255);
}

TEST(KvRetention, NothingIsDroppedWhileSinksAndWindowHoldAll) {
  const UnitPolicy policy = Streaming(4, 60);
  for (int64_t length = 0; length <= 63; ++length) {
    const KeptSpans kept = KeptOf(policy, length, 0);
    EXPECT_LE(kept.kept_begin, std::max<int64_t>(kept.sinks_end, 4)) << length;
  }
}

TEST(KvRetention, BlocksHeldCountsTheBlocksThatAreKept) {
  for (const UnitPolicy& policy :
       {UnitPolicy(), Streaming(0, 1), Streaming(4, 256), Streaming(64, 100),
        Streaming(130, 64), Razor(4, 64, 5), Razor(4, 4000, 0)}) {
    for (int64_t length = 0; length < 2000; length += 7) {
      for (const int64_t prompt : {int64_t{0}, int64_t{700}, length}) {
        EXPECT_EQ(BlocksHeld(policy, length, prompt),
                  CountKept(policy, length, prompt))
            << length << " " << prompt;
      }
    }
  }
}

TEST(KvRetention, MaxCoversEveryLengthWithRowsInFlight) {
  for (const UnitPolicy& policy : {Streaming(0, 1), Streaming(4, 256),
                                   Streaming(64, 100), Razor(4, 64, 5)}) {
    for (const int64_t prompt : {0, 700, 1999}) {
      const int64_t most = MaxBlocksHeld(policy, 2000, prompt);
      for (int64_t length = 0; length < 2000; ++length) {
        // Blocks at `length`, and those of rows that came since.
        const int64_t end = std::min<int64_t>(length + kRowsBeforeDrop, 2000);
        const int64_t grown = BlocksHeld(policy, length, prompt) +
                              (end + 63) / 64 - (length + 63) / 64;
        ASSERT_LE(grown, most) << length << " " << prompt;
      }
    }
  }
}

TEST(KvRetention, StreamingMemoryDoesNotGrow) {
  const UnitPolicy policy = Streaming(4, 256);
  EXPECT_EQ(MaxBlocksHeld(policy, 10'000, 0),
            MaxBlocksHeld(policy, 10'000'000, 0));
}

TEST(KvRetention, KeysAreTakenOverWhereTheyAreRotatedAlike) {
  UnitPolicy longheads;
  longheads.kind = PolicyKind::kLongHeads;
  longheads.chunk_len = 64;
  longheads.num_chunks = 4;
  UnitPolicy landmark = longheads;
  landmark.kind = PolicyKind::kLandmark;
  UnitPolicy slots = landmark;
  slots.slot_positions = true;
  EXPECT_TRUE(CanTakeOver(UnitPolicy(), landmark));
  EXPECT_TRUE(CanTakeOver(landmark, UnitPolicy()));
  EXPECT_FALSE(CanTakeOver(UnitPolicy(), slots));
  EXPECT_FALSE(CanTakeOver(landmark, slots));
  EXPECT_TRUE(CanTakeOver(longheads, slots));
  EXPECT_FALSE(CanTakeOver(slots, longheads)) << "its queries are not kept";
  UnitPolicy longer = slots;
  longer.chunk_len = 128;
  EXPECT_FALSE(CanTakeOver(slots, longer));
  longer = slots;
  longer.num_chunks = 9;
  EXPECT_TRUE(CanTakeOver(slots, longer));
}

TEST(KvRetention, RazorKeepsThePromptUntilItsEnd) {
  const UnitPolicy policy = Razor(4, 64, 5);
  EXPECT_EQ(BlocksHeld(policy, 6400, 10'000), 100);
  EXPECT_EQ(WindowOf(policy, 10'000), 2000);
  EXPECT_EQ(KeptOf(policy, 10'000, 10'000).kept_begin, 10'000 - 1999);
  // The window does not grow with the answer.
  EXPECT_EQ(KeptOf(policy, 20'000, 10'000).kept_begin, 20'000 - 1999);
}

}  // namespace
}  // namespace headwise
