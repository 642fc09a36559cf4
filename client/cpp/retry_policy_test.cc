#include "client/cpp/retry_policy.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::ElementsAre;

// Time that moves only by sleeping.
class RetryTest : public testing::Test {
 protected:
  RetryOptions Options() {
    RetryOptions options;
    options.now = [this] { return now_; };
    options.sleep = [this](absl::Duration delay) {
      slept_.push_back(delay);
      now_ += delay;
    };
    options.chance = [this] { return chance_; };
    return options;
  }

  absl::Time now_ = absl::UnixEpoch();
  double chance_ = 0.0;
  std::vector<absl::Duration> slept_;
};

TEST_F(RetryTest, TransientFailuresAreRepeatedWithDoublingDelays) {
  int calls = 0;
  const absl::Status status =
      CallWithRetry(Options(), absl::Minutes(1), [&](absl::Duration) {
        return Attempt{++calls < 4 ? absl::UnavailableError("group is forming")
                                   : absl::OkStatus()};
      });
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(calls, 4);
  EXPECT_THAT(slept_,
              ElementsAre(absl::Milliseconds(100), absl::Milliseconds(200),
                          absl::Milliseconds(400)));
}

TEST_F(RetryTest, TheServersWishedDelayIsKeptUpToTheLimit) {
  std::vector<absl::Duration> wishes = {absl::Seconds(20), absl::Hours(1)};
  size_t calls = 0;
  const absl::Status status =
      CallWithRetry(Options(), absl::Minutes(10), [&](absl::Duration) {
        if (calls == wishes.size()) return Attempt{absl::OkStatus()};
        return Attempt{absl::ResourceExhaustedError("full"), wishes[calls++]};
      });
  EXPECT_TRUE(status.ok());
  EXPECT_THAT(slept_, ElementsAre(absl::Seconds(20), absl::Minutes(2)));
}

// Of a thousand that were refused together, no tenth comes back in one tenth of
// the time that the delay may be longer by.
TEST_F(RetryTest, ThoseRefusedTogetherDoNotComeBackTogether) {
  constexpr int kNumClients = 1000;
  std::vector<int> tenths(10, 0);
  for (int client = 0; client < kNumClients; ++client) {
    RetryOptions options = Options();
    options.chance = RandomChance;
    int calls = 0;
    EXPECT_TRUE(CallWithRetry(options, absl::Minutes(1), [&](absl::Duration) {
                  if (calls++ > 0) return Attempt{absl::OkStatus()};
                  return Attempt{absl::UnavailableError(""), absl::Seconds(1)};
                }).ok());
    const double longer = absl::ToDoubleSeconds(slept_.back()) - 1.0;
    ASSERT_GE(longer, 0.0);
    ASSERT_LT(longer, 0.5);
    ++tenths[static_cast<int>(longer / 0.05)];
  }
  for (const int tenth : tenths) EXPECT_LT(tenth, 2 * kNumClients / 10);
}

TEST_F(RetryTest, ADelayMadeLongerByChanceDoesNotPassTheDeadline) {
  chance_ = 0.9;  // 145 ms
  const absl::Status status = CallWithRetry(
      Options(), absl::Milliseconds(140),
      [&](absl::Duration) { return Attempt{absl::UnavailableError("")}; });
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(slept_.empty());
}

TEST_F(RetryTest, OtherErrorsAndSeenAnswersAreNotRepeated) {
  for (const Attempt& attempt :
       {Attempt{absl::InvalidArgumentError("no")},
        Attempt{absl::DeadlineExceededError("late")},
        Attempt{absl::CancelledError("gone")},
        Attempt{absl::ResourceExhaustedError("message too large")},
        Attempt{absl::UnavailableError("mid-stream"), absl::ZeroDuration(),
                /*may_repeat=*/false}}) {
    int calls = 0;
    const absl::Status status =
        CallWithRetry(Options(), absl::Minutes(1), [&](absl::Duration) {
          ++calls;
          return attempt;
        });
    EXPECT_EQ(status, attempt.status);
    EXPECT_EQ(calls, 1);
  }
  EXPECT_TRUE(slept_.empty());
}

TEST_F(RetryTest, AttemptsAreBounded) {
  int calls = 0;
  const absl::Status status =
      CallWithRetry(Options(), absl::Hours(1), [&](absl::Duration) {
        ++calls;
        return Attempt{absl::UnavailableError("down")};
      });
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(calls, 4);
}

TEST_F(RetryTest, NoDelayPassesTheDeadlineAndAttemptsGetWhatRemains) {
  std::vector<absl::Duration> remaining;
  const absl::Status status = CallWithRetry(
      Options(), absl::Milliseconds(250), [&](absl::Duration left) {
        remaining.push_back(left);
        return Attempt{absl::UnavailableError("down")};
      });
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(remaining,
              ElementsAre(absl::Milliseconds(250), absl::Milliseconds(150)));
}

}  // namespace
}  // namespace headwise
