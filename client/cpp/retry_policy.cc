#include "client/cpp/retry_policy.h"

#include <algorithm>

namespace headwise {

absl::Status CallWithRetry(
    const RetryOptions& options, absl::Duration timeout,
    absl::FunctionRef<Attempt(absl::Duration remaining)> attempt) {
  const absl::Time deadline = options.now() + timeout;
  absl::Duration delay = options.first_delay;
  for (int i = 1;; ++i) {
    const Attempt result = attempt(deadline - options.now());
    // gRPC itself says ResourceExhausted of a message that is too large, and
    // would say it again.
    const bool transient = absl::IsUnavailable(result.status) ||
                           (absl::IsResourceExhausted(result.status) &&
                            result.retry_delay > absl::ZeroDuration());
    if (!transient || !result.may_repeat || i >= options.max_attempts) {
      return result.status;
    }
    const absl::Duration wait =
        std::min(std::max(delay, result.retry_delay), options.max_delay);
    if (options.now() + wait >= deadline) return result.status;
    options.sleep(wait);
    delay *= 2;
  }
}

}  // namespace headwise
