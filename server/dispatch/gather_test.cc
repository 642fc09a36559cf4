#include "server/dispatch/gather.h"

#include <atomic>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

// Goes ahead with each look.
class JumpingClock final : public Clock {
 public:
  explicit JumpingClock(absl::Duration jump) : jump_(jump) {}
  absl::Time Now() const override {
    return absl::UnixEpoch() + jump_ * num_looks_++;
  }

 private:
  const absl::Duration jump_;
  mutable std::atomic<int> num_looks_ = 0;
};

const std::atomic<bool> kNotCancelled = false;

TEST(GatherTest, SilenceIsMeasuredByTheClockThatWasGiven) {
  const JumpingClock clock(absl::Hours(1));
  Gather<int> gather(2, clock);
  gather.Set(1, 7);
  const auto answers = gather.Wait(absl::Minutes(90), kNotCancelled);
  EXPECT_EQ(answers[0], std::nullopt);
  EXPECT_EQ(answers[1], 7);
}

TEST(GatherTest, ProgressIsToldByTheThreadThatWaitsAndNeverAfterwards) {
  Gather<int> gather(2, Clock::Monotonic());
  const std::thread::id waiting = std::this_thread::get_id();
  absl::Notification told_half;
  std::vector<double> told;
  std::thread worker([&] {
    gather.SetProgress(0, 0.5);
    gather.SetProgress(1, 0.5);
    told_half.WaitForNotification();
    gather.SetProgress(0, 0.25);  // falls: not told
    gather.Set(0, 1);
    gather.Set(1, 1);
  });
  gather.Wait(absl::Seconds(30), kNotCancelled, [&](double mean) {
    EXPECT_EQ(std::this_thread::get_id(), waiting);
    told.push_back(mean);
    if (mean == 0.5) told_half.Notify();
  });
  worker.join();
  const size_t num_told = told.size();
  EXPECT_EQ(told.back(), 0.5);
  gather.SetProgress(1, 1.0);
  EXPECT_EQ(told.size(), num_told);
}

TEST(GatherTest, CancelEndsTheWait) {
  Gather<int> gather(1, Clock::Monotonic());
  const std::atomic<bool> cancelled = true;
  EXPECT_EQ(gather.Wait(absl::Hours(1), cancelled)[0], std::nullopt);
}

// One that is gone decides, though the others still load.
TEST(GatherTest, AnAnswerMayEndTheWaitForTheOthers) {
  Gather<int> gather(3, Clock::Monotonic());
  gather.Set(0, 1);
  gather.SetProgress(1, 0.5);
  gather.Set(2, -1);
  const auto answers =
      gather.Wait(absl::Hours(1), kNotCancelled, nullptr,
                  [](size_t rank, const std::optional<int>& answer) {
                    return rank == 2 && answer.value_or(0) < 0;
                  });
  EXPECT_EQ(answers[0], 1);
  EXPECT_EQ(answers[1], std::nullopt);
  EXPECT_THAT(gather.Silent(absl::Hours(1)), testing::IsEmpty());
}

// A rank that loads and says so does not cover for one that is frozen.
TEST(GatherTest, SilenceIsOfEachRank) {
  Gather<int> gather(2, Clock::Monotonic());
  std::atomic<bool> is_over = false;
  std::thread loading([&] {
    while (!is_over) {
      gather.SetProgress(0, 0.5);
      absl::SleepFor(absl::Milliseconds(1));
    }
  });
  gather.Wait(absl::Milliseconds(300), kNotCancelled);
  EXPECT_THAT(gather.Silent(absl::Milliseconds(300)), testing::Contains(1u));
  is_over = true;
  loading.join();
}

}  // namespace
}  // namespace headwise
