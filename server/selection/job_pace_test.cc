#include "server/selection/job_pace.h"

#include "gtest/gtest.h"
#include "server/selection/back_off.h"

namespace headwise {
namespace {

absl::Time At(double seconds) {
  return absl::UnixEpoch() + absl::Seconds(seconds);
}

TEST(CostMeter, SharesTimeAmongThoseUnderWay) {
  CostMeter cost;
  const double a = cost.Begin(At(10));
  const double b = cost.Begin(At(12));
  EXPECT_DOUBLE_EQ(cost.End(At(16), a), 2.0 + 2.0);
  EXPECT_DOUBLE_EQ(cost.End(At(17), b), 2.0 + 1.0);
  // Nothing is under way: nobody pays.
  const double c = cost.Begin(At(100));
  EXPECT_DOUBLE_EQ(cost.End(At(101), c), 1.0);
}

TEST(RateMeter, CountsTheLastMinute) {
  RateMeter rate;
  EXPECT_EQ(rate.PerSecond(At(0)), 0.0);
  for (int second = 0; second <= 10; ++second) rate.Add(At(second), 100);
  EXPECT_NEAR(rate.PerSecond(At(10)), 110.0, 1e-9);  // 11 counts in 10 s
  for (int second = 11; second <= 200; ++second) rate.Add(At(second), 300);
  EXPECT_NEAR(rate.PerSecond(At(200)), 300.0, 6.0);
  EXPECT_NEAR(rate.PerSecond(At(230)), 150.0, 6.0);
  EXPECT_EQ(rate.PerSecond(At(300)), 0.0);
}

TEST(BackOff, DoublesOnceForAllThatFailTogether) {
  BackOff back_off(absl::Seconds(1), absl::Seconds(3));
  EXPECT_EQ(back_off.Left(At(0)), absl::ZeroDuration());
  for (int i = 0; i < 64; ++i) back_off.Failed(At(0));
  EXPECT_EQ(back_off.Left(At(0)), absl::Seconds(1));
  back_off.Failed(At(1));
  EXPECT_EQ(back_off.Left(At(1)), absl::Seconds(2));
  back_off.Failed(At(3));
  back_off.Failed(At(6));
  EXPECT_EQ(back_off.Left(At(6)), absl::Seconds(3));
  back_off.Succeeded();
  EXPECT_EQ(back_off.Left(At(6)), absl::ZeroDuration());
  back_off.Failed(At(6));
  EXPECT_EQ(back_off.Left(At(6)), absl::Seconds(1));
}

}  // namespace
}  // namespace headwise
