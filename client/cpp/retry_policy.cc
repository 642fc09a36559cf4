#include "client/cpp/retry_policy.h"

#include <algorithm>
#include <random>

namespace headwise {

double RandomChance() {
  thread_local std::mt19937 generator{std::random_device{}()};
  return std::uniform_real_distribution<double>(0.0, 1.0)(generator);
}

absl::Status CallWithRetry(
    const RetryOptions& options, absl::Duration timeout,
    absl::FunctionRef<Attempt(absl::Duration remaining)> attempt) {
  const absl::Time deadline = options.now() + timeout;
  absl::Duration delay = options.first_delay;
  int max_attempts = options.max_attempts;
  for (int i = 1;; ++i) {
    const Attempt result = attempt(deadline - options.now());
    if (result.has_progressed) {
      max_attempts = options.max_resumes + 1;
      delay = options.first_delay;
      i = 1;
    }
    // gRPC itself says ResourceExhausted of a message that is too large, and
    // would say it again.
    const bool transient = absl::IsUnavailable(result.status) ||
                           (absl::IsResourceExhausted(result.status) &&
                            result.retry_delay > absl::ZeroDuration());
    if (!transient || !result.may_repeat || i >= max_attempts) {
      return result.status;
    }
    const absl::Duration wait =
        std::max(std::min(delay, options.max_delay),
                 std::min(result.retry_delay, options.max_wish)) *
        (1.0 + 0.5 * options.chance());
    if (options.now() + wait >= deadline) return result.status;
    options.sleep(wait);
    delay *= 2;
  }
}

}  // namespace headwise
