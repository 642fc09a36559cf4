#include "base/pulse.h"

#include <pthread.h>

#include <string>
#include <thread>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// Late from its next reading on.
constexpr absl::Duration kNone = absl::Nanoseconds(-1);

TEST(PulseTest, IsLateOnceItsAllowanceIsOver) {
  Pulse pulse("test-loop");
  EXPECT_TRUE(CheckPulses().ok());
  pulse.Beat(kNone);
  const absl::Status late = CheckPulses();
  EXPECT_EQ(late.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(late.message()),
              HasSubstr("thread test-loop has not turned for "));
  pulse.Beat();
  EXPECT_TRUE(CheckPulses().ok());
}

TEST(PulseTest, OfOneNameTheWorstIsRead) {
  Pulse first("test-same"), second("test-same"), other("test-other");
  first.Beat(absl::Hours(1));
  second.Beat(kNone);
  const auto readings = ReadPulses();
  ASSERT_EQ(readings.size(), 2u);
  EXPECT_EQ(readings[0].name, "test-other");
  EXPECT_EQ(readings[0].allowance, kPulseAllowance);
  EXPECT_FALSE(readings[0].is_late);
  EXPECT_EQ(readings[1].name, "test-same");
  EXPECT_TRUE(readings[1].is_late);
  EXPECT_TRUE(CheckPulses("test-other").ok());
  EXPECT_FALSE(CheckPulses("test-same").ok());
}

TEST(PulseTest, EveryoneWhoIsLateIsNamed) {
  Pulse first("test-a"), second("test-b");
  first.Beat(kNone);
  second.Beat(kNone);
  const std::string message(CheckPulses().message());
  EXPECT_THAT(message, HasSubstr("test-a"));
  EXPECT_THAT(message, HasSubstr("test-b"));
}

TEST(PulseTest, WhoEndsIsForgotten) {
  { Pulse("test-gone").Beat(kNone); }
  EXPECT_THAT(ReadPulses(), IsEmpty());
}

TEST(PulseTest, AThreadHasItsPulsesName) {
  std::string name(16, '\0');
  std::thread([&] {
    const ThreadPulse pulse("test-thread");
    pthread_getname_np(pthread_self(), name.data(), name.size());
  }).join();
  EXPECT_STREQ(name.c_str(), "test-thread");
}

TEST(PulseTest, WorkBeatsThePulseOfTheThreadThatItRunsOn) {
  BeatThreadPulse();  // this thread has none: no effect
  std::thread([] {
    ThreadPulse pulse("test-worker");
    pulse.Beat(kNone);
    EXPECT_FALSE(CheckPulses().ok());
    BeatThreadPulse(absl::Minutes(1));
    EXPECT_EQ(pulse.Read().allowance, absl::Minutes(1));
    EXPECT_TRUE(CheckPulses().ok());
  }).join();
}

TEST(PulseDeathTest, NamesMustFitTheKernels) {
  EXPECT_DEATH(Pulse("sixteen-bytes---"), "");
  EXPECT_DEATH(Pulse(""), "");
}

}  // namespace
}  // namespace headwise
