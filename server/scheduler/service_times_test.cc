#include "server/scheduler/service_times.h"

#include "gtest/gtest.h"

namespace headwise {
namespace {

constexpr absl::Time kBegin = absl::UnixEpoch();

TEST(ServiceTimesTest, WhatWasNotMeasuredTakesNoTime) {
  ServiceTimes times;
  EXPECT_EQ(times.QueueTime(1000), absl::ZeroDuration());
  EXPECT_EQ(times.LeastTime({.prompt_cost = 1e6}, kBegin),
            absl::ZeroDuration());
  EXPECT_EQ(times.LikelyTime({.prompt_cost = 1e6, .max_new_tokens = 1000}),
            absl::ZeroDuration());
}

TEST(ServiceTimesTest, APromptTakesAsLongAsItsCost) {
  ServiceTimes times;
  for (int i = 0; i < 5; ++i)
    times.OnStep(512, absl::Milliseconds(512), kBegin);
  EXPECT_EQ(times.LeastTime({.prompt_cost = 5000}, kBegin), absl::Seconds(5));
  EXPECT_EQ(times.LeastTime({.prompt_cost = 1}, kBegin),
            absl::Milliseconds(512));
}

// Small steps say nothing of a prompt's, but how short a step may be.
TEST(ServiceTimesTest, DecodeStepsAreNotTakenForTheSpeedOfAPrompt) {
  ServiceTimes times;
  times.OnStep(1, absl::Milliseconds(3), kBegin);
  EXPECT_EQ(times.LeastTime({.prompt_cost = 5000}, kBegin),
            absl::Milliseconds(3));
  times.OnStep(100, absl::Milliseconds(100), kBegin);
  for (int i = 0; i < 1000; ++i) times.OnStep(1, absl::Milliseconds(3), kBegin);
  EXPECT_EQ(times.LeastTime({.prompt_cost = 5000}, kBegin), absl::Seconds(5));
  EXPECT_EQ(times.LeastTime({.prompt_cost = 1}, kBegin), absl::Milliseconds(3));
}

TEST(ServiceTimesTest, TheShortestStepIsForgottenOnceAllAreLonger) {
  ServiceTimes times;
  times.OnStep(1, absl::Milliseconds(3), kBegin);
  for (int i = 0; i < 1000; ++i) times.OnStep(1, absl::Seconds(4), kBegin);
  EXPECT_EQ(times.LeastTime({}, kBegin), absl::Seconds(4));
}

TEST(ServiceTimesTest, WhatIsAMinuteOldIsNotBelieved) {
  ServiceTimes times;
  times.OnStep(100, absl::Seconds(100), kBegin);
  const absl::Time later = kBegin + absl::Minutes(1);
  EXPECT_EQ(times.LeastTime({.prompt_cost = 5}, later), absl::Seconds(100));
  EXPECT_EQ(times.LeastTime({.prompt_cost = 5}, later + absl::Seconds(1)),
            absl::ZeroDuration());
  times.OnStep(1, absl::Seconds(2), later + absl::Seconds(1));
  EXPECT_EQ(times.LeastTime({.prompt_cost = 5}, later + absl::Seconds(1)),
            absl::Seconds(2));
}

TEST(ServiceTimesTest, AQueueGetsShorterAsItDid) {
  ServiceTimes times;
  absl::Time now = kBegin;
  times.OnQueue(/*stands=*/false, now);
  for (int i = 0; i < 100; ++i) times.OnEnd({}, now += absl::Seconds(60));
  EXPECT_EQ(times.QueueTime(10), absl::ZeroDuration());  // none stood
  times.OnQueue(/*stands=*/true, now);
  for (int i = 0; i < 3; ++i) times.OnEnd({}, now += absl::Seconds(2));
  EXPECT_EQ(times.QueueTime(10), absl::ZeroDuration());  // too few
  for (int i = 0; i < 300; ++i) times.OnEnd({}, now += absl::Seconds(2));
  EXPECT_NEAR(absl::ToDoubleSeconds(times.QueueTime(10)), 20, 2);
  // The time in which none stands is not counted.
  times.OnQueue(/*stands=*/false, now);
  times.OnQueue(/*stands=*/true, now += absl::Hours(1));
  EXPECT_NEAR(absl::ToDoubleSeconds(times.QueueTime(10)), 20, 2);
  // Of the workers' new speed, after two minutes of it.
  for (int i = 0; i < 600; ++i) times.OnEnd({}, now += absl::Milliseconds(200));
  EXPECT_NEAR(absl::ToDoubleSeconds(times.QueueTime(10)), 2, 0.6);
}

TEST(ServiceTimesTest, ManyThatEndAtOnceAreNotTakenForTheSpeed) {
  ServiceTimes times;
  absl::Time now = kBegin;
  times.OnQueue(/*stands=*/true, now);
  for (int round = 0; round < 40; ++round) {
    now += absl::Seconds(4);
    for (int i = 0; i < 64; ++i) times.OnEnd({}, now);
  }
  EXPECT_NEAR(absl::ToDoubleSeconds(times.QueueTime(64)), 4, 0.4);
  times.OnQueue(/*stands=*/true, now += absl::Seconds(4));
  EXPECT_NEAR(absl::ToDoubleSeconds(times.QueueTime(64)), 4, 0.6);
}

TEST(ServiceTimesTest, ATextTakesAsLongAsOthersDid) {
  ServiceTimes times;
  ServiceTimes::Service service = {.prompt_cost = 100,
                                   .prefill_time = absl::Milliseconds(50),
                                   .generated_tokens = 51,
                                   .decode_time = absl::Milliseconds(500),
                                   .max_new_tokens = 102,
                                   .is_whole = true};
  times.OnEnd(service, kBegin);
  // 1000 of cost; half of 402 tokens, the first with the prompt.
  EXPECT_EQ(times.LikelyTime({.prompt_cost = 1000, .max_new_tokens = 402}),
            absl::Milliseconds(500 + 2000));
  // One that was cut off says how long tokens take, not how many there are.
  service.is_whole = false;
  service.generated_tokens = 2;
  service.decode_time = absl::Milliseconds(10);
  times.OnEnd(service, kBegin);
  EXPECT_NEAR(absl::ToDoubleSeconds(times.LikelyTime({.max_new_tokens = 402})),
              2, 1e-6);
}

}  // namespace
}  // namespace headwise
