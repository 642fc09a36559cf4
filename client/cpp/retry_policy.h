// When a failed call is tried again, and after how long.

#ifndef HEADWISE_CLIENT_CPP_RETRY_POLICY_H_
#define HEADWISE_CLIENT_CPP_RETRY_POLICY_H_

#include <functional>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace headwise {

// Seeded by the machine's entropy; thread-safe.
double RandomChance();

// The answers of headwise.v1 depend on the request alone, so every method may
// be repeated. A stream is repeated only before its first message, or if it can
// be resumed where it broke off.
struct RetryOptions {
  int max_attempts = 4;  // 1: never again
  // Of a stream that has begun, in a row without its coming any further: some
  // 70 s at the delays below, in which a standby takes over and forms a group.
  int max_resumes = 16;
  absl::Duration first_delay = absl::Milliseconds(100);
  absl::Duration max_delay = absl::Seconds(5);
  absl::Duration max_wish = absl::Minutes(2);  // of the server
  // Replaced by tests. `chance` is in [0, 1), anew for each delay.
  std::function<absl::Time()> now = [] { return Clock::Monotonic().Now(); };
  std::function<void(absl::Duration)> sleep = absl::SleepFor;
  std::function<double()> chance = RandomChance;
};

// What one attempt came to.
struct Attempt {
  absl::Status status;
  // RetryInfo of the server; zero: it named none.
  absl::Duration retry_delay = absl::ZeroDuration();
  bool may_repeat = true;  // false: the caller has seen part of the answer
  // Part of an answer came, and the next attempt will ask for the rest.
  bool has_progressed = false;
};

// Calls `attempt` with the time that remains, until it succeeds, fails for
// another reason than Unavailable or ResourceExhausted with a retry_delay,
// max_attempts are used up (once it has progressed: max_resumes since it last
// has), or the next delay would pass the deadline. Delays double up to
// max_delay; the server's wish counts up to max_wish if it is longer; and each
// is longer by up to half of itself, by chance, so that clients that were
// refused together do not come back together. Returns the last attempt's
// status.
absl::Status CallWithRetry(
    const RetryOptions& options, absl::Duration timeout,
    absl::FunctionRef<Attempt(absl::Duration remaining)> attempt);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CPP_RETRY_POLICY_H_
