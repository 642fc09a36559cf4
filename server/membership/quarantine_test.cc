#include "server/membership/quarantine.h"

#include <string>

#include "base/fake_clock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

class QuarantineTest : public testing::Test {
 protected:
  FakeClock clock_;
  Quarantine quarantine_{absl::Seconds(30), clock_};
};

TEST_F(QuarantineTest, HoldsForExactlySoLong) {
  EXPECT_FALSE(quarantine_.Holds("a"));
  EXPECT_EQ(quarantine_.Blame("a"), absl::Seconds(30));
  clock_.Advance(absl::Seconds(30) - absl::Nanoseconds(1));
  EXPECT_TRUE(quarantine_.Holds("a"));
  EXPECT_FALSE(quarantine_.Holds("b"));
  clock_.Advance(absl::Nanoseconds(1));
  EXPECT_FALSE(quarantine_.Holds("a"));
}

TEST_F(QuarantineTest, DoublesUpToAnHourAndRemembersWhatIsOver) {
  for (const int seconds : {30, 60, 120, 240, 480, 960, 1920, 3600, 3600}) {
    EXPECT_EQ(quarantine_.Blame("a"), absl::Seconds(seconds));
    clock_.Advance(absl::Hours(2));
  }
  for (int i = 0; i < 100; ++i) quarantine_.Blame("a");
  EXPECT_EQ(quarantine_.Blame("a"), absl::Hours(1));
}

TEST_F(QuarantineTest, FirstSuspicionIsFree) {
  EXPECT_EQ(quarantine_.Suspect("a"), absl::ZeroDuration());
  EXPECT_FALSE(quarantine_.Holds("a"));
  EXPECT_EQ(quarantine_.Suspect("a"), absl::Seconds(3));
  EXPECT_TRUE(quarantine_.Holds("a"));
  EXPECT_EQ(quarantine_.Suspect("a"), absl::Seconds(6));
  EXPECT_EQ(quarantine_.Blame("a"), absl::Seconds(240));
}

TEST_F(QuarantineTest, ForgivenWorkersStartOver) {
  quarantine_.Blame("a");
  quarantine_.Blame("a");
  quarantine_.Forgive("a");
  EXPECT_FALSE(quarantine_.Holds("a"));
  EXPECT_EQ(quarantine_.Blame("a"), absl::Seconds(30));
}

TEST_F(QuarantineTest, NamesAreBoundedAndTheOldestGoes) {
  for (int i = 0; i < 257; ++i) {
    quarantine_.Blame(std::to_string(i));
    clock_.Advance(absl::Milliseconds(1));
  }
  EXPECT_FALSE(quarantine_.Holds("0"));
  EXPECT_TRUE(quarantine_.Holds("1"));
  EXPECT_TRUE(quarantine_.Holds("256"));
}

}  // namespace
}  // namespace headwise
