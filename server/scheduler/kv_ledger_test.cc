#include "server/scheduler/kv_ledger.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(KvLedgerTest, ReservesToTheLastByteOfEachRankAndNoFurther) {
  KvLedger ledger({100, 50});
  ASSERT_TRUE(ledger.Fits({60, 50}));
  ledger.Reserve(1, {60, 50});
  EXPECT_FALSE(ledger.Fits({1, 1}));
  EXPECT_FALSE(ledger.Fits({41, 0}));
  ASSERT_TRUE(ledger.Fits({40, 0}));
  ledger.Reserve(2, {40, 0});
  EXPECT_THAT(ledger.used(), ElementsAre(100, 50));
  EXPECT_THAT(ledger.Reserved(1), ElementsAre(60, 50));
  EXPECT_THAT(ledger.Reserved(3), IsEmpty());
}

TEST(KvLedgerTest, ReleaseGivesBackWhatWasReservedOnce) {
  KvLedger ledger({128});
  ledger.Reserve(1, {100});
  ledger.Release(2);
  EXPECT_THAT(ledger.used(), ElementsAre(100));
  ledger.Release(1);
  ledger.Release(1);
  EXPECT_THAT(ledger.used(), ElementsAre(0));
  EXPECT_TRUE(ledger.Fits({128}));
}

}  // namespace
}  // namespace headwise
