// A step of the wall clock moves no wait. This program has a clock_gettime and
// a gettimeofday of its own: they shift the wall clock for all that asks, while
// the kernel's stays, which is to a wait what a step is right after its begin.

#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "gtest/gtest.h"

namespace {
std::atomic<int64_t> g_shift_seconds = 0;
}  // namespace

extern "C" int clock_gettime(clockid_t clock, timespec* now) noexcept {
  const long result = syscall(SYS_clock_gettime, clock, now);
  if (result == 0 && clock == CLOCK_REALTIME) now->tv_sec += g_shift_seconds;
  return static_cast<int>(result);
}

extern "C" int gettimeofday(timeval* now, void*) noexcept {
  timespec fine;
  const int result = clock_gettime(CLOCK_REALTIME, &fine);
  *now = {.tv_sec = fine.tv_sec, .tv_usec = fine.tv_nsec / 1000};
  return result;
}

namespace headwise {
namespace {

constexpr absl::Duration kShort = absl::Milliseconds(50);
constexpr int64_t kHour = 3600;

struct Shift {
  const char* name;
  int64_t seconds;
  bool noticed;  // by absl::Now(), which looks about every 2 s
};

class MonotonicWaitsTest : public testing::TestWithParam<Shift> {
 protected:
  MonotonicWaitsTest() {
    const int64_t before = absl::ToUnixSeconds(absl::Now());
    g_shift_seconds = GetParam().seconds;
    while (GetParam().noticed &&
           std::abs(absl::ToUnixSeconds(absl::Now()) - before) < kHour / 2) {
      absl::SleepFor(absl::Milliseconds(1));
    }
  }
  ~MonotonicWaitsTest() override { g_shift_seconds = 0; }

  // What it took, on the monotonic clock.
  template <typename Wait>
  static absl::Duration Took(Wait wait) {
    const absl::Time begin = Clock::Monotonic().Now();
    wait();
    return Clock::Monotonic().Now() - begin;
  }
};

TEST_P(MonotonicWaitsTest, AWaitForAConditionLastsAsLongAsItSays) {
  absl::Mutex mutex;
  const bool never = false;
  const absl::Duration took = Took([&] {
    absl::MutexLock lock(&mutex);
    EXPECT_FALSE(mutex.AwaitWithTimeout(absl::Condition(&never), kShort));
  });
  EXPECT_GE(took, kShort);
  EXPECT_LT(took, absl::Seconds(30));
}

TEST_P(MonotonicWaitsTest, AWaitForASignalLastsAsLongAsItSays) {
  absl::Mutex mutex;
  absl::CondVar never;
  const absl::Duration took = Took([&] {
    absl::MutexLock lock(&mutex);
    EXPECT_TRUE(never.WaitWithTimeout(&mutex, kShort));
  });
  EXPECT_GE(took, kShort);
  EXPECT_LT(took, absl::Seconds(30));
}

TEST_P(MonotonicWaitsTest, WhatIsWaitedForEndsAWaitAtOnce) {
  absl::Notification comes;
  std::thread thread([&] {
    absl::SleepFor(kShort);
    comes.Notify();
  });
  bool came = false;
  const absl::Duration took = Took(
      [&] { came = comes.WaitForNotificationWithTimeout(absl::Minutes(10)); });
  thread.join();
  EXPECT_TRUE(came);
  EXPECT_LT(took, absl::Seconds(30));
}

// Many threads that pass one turn around: no wake-up is lost.
TEST_P(MonotonicWaitsTest, NoWakeUpIsLost) {
  constexpr int kNumThreads = 4;
  constexpr int kNumTurns = 2000;
  absl::Mutex mutex;
  int turn = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < kNumThreads; ++i) {
    threads.emplace_back([&, i] {
      const auto mine = [&] {
        return turn % kNumThreads == i || turn >= kNumTurns;
      };
      while (true) {
        absl::MutexLock lock(&mutex);
        EXPECT_TRUE(
            mutex.AwaitWithTimeout(absl::Condition(&mine), absl::Minutes(1)));
        if (turn >= kNumTurns) return;
        ++turn;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(turn, kNumTurns);
}

TEST_P(MonotonicWaitsTest, TimesFarAwayAreNoOverflow) {
  absl::Notification comes;
  std::thread thread([&] {
    absl::SleepFor(kShort);
    comes.Notify();
  });
  const absl::Time far = absl::FromUnixSeconds(9'000'000'000);
  absl::Mutex mutex;
  {
    absl::MutexLock lock(&mutex);
    const bool never = false;
    EXPECT_FALSE(
        mutex.AwaitWithDeadline(absl::Condition(&never), absl::UnixEpoch()));
  }
  EXPECT_TRUE(comes.WaitForNotificationWithDeadline(far));
  thread.join();
}

INSTANTIATE_TEST_SUITE_P(Shifts, MonotonicWaitsTest,
                         testing::Values(Shift{"None", 0, false},
                                         Shift{"JustAhead", kHour, false},
                                         Shift{"Ahead", kHour, true},
                                         Shift{"JustBehind", -kHour, false},
                                         Shift{"Behind", -kHour, true}),
                         [](const testing::TestParamInfo<Shift>& info) {
                           return info.param.name;
                         });

}  // namespace
}  // namespace headwise
