#include "server/scheduler/kv_ledger.h"

#include <cstdint>
#include <limits>

#include "gtest/gtest.h"

namespace headwise {
namespace {

TEST(KvLedgerTest, CountsWholeBlocks) {
  EXPECT_EQ(KvLedger::RoundUp(0), 0);
  EXPECT_EQ(KvLedger::RoundUp(1), 64);
  EXPECT_EQ(KvLedger::RoundUp(64), 64);
  EXPECT_EQ(KvLedger::RoundUp(65), 128);
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(KvLedger::RoundUp(kMax), kMax / 64 * 64);
  EXPECT_EQ(KvLedger(191).capacity_tokens(), 128);
}

TEST(KvLedgerTest, ReservesToTheLastBlockAndNoFurther) {
  KvLedger ledger(192);
  EXPECT_TRUE(ledger.Reserve(1, 65));
  EXPECT_FALSE(ledger.Reserve(2, 65));
  EXPECT_EQ(ledger.used_tokens(), 128);
  EXPECT_TRUE(ledger.Reserve(2, 64));
  EXPECT_EQ(ledger.used_tokens(), 192);
  EXPECT_FALSE(ledger.Reserve(3, 1));
}

TEST(KvLedgerTest, ReleaseGivesBackWhatWasReservedOnce) {
  KvLedger ledger(128);
  ASSERT_TRUE(ledger.Reserve(1, 100));
  ledger.Release(2);
  EXPECT_EQ(ledger.used_tokens(), 128);
  ledger.Release(1);
  ledger.Release(1);
  EXPECT_EQ(ledger.used_tokens(), 0);
  EXPECT_TRUE(ledger.Reserve(1, 128));
}

}  // namespace
}  // namespace headwise
