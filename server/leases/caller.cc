#include "server/leases/caller.h"

#include <algorithm>

namespace headwise {
namespace {

// A call has about a second of work; others of the worker may come before it.
constexpr absl::Duration kWorkerTimeout = absl::Seconds(60);

}  // namespace

absl::StatusOr<absl::Duration> TimeoutFor(const Caller& caller,
                                          const Clock& clock) {
  if (caller.is_cancelled && caller.is_cancelled()) {
    return absl::CancelledError("the caller has left");
  }
  const absl::Duration left = caller.deadline - clock.Now();
  if (left <= absl::ZeroDuration()) {
    return absl::DeadlineExceededError("the call's deadline has passed");
  }
  return std::min(left, kWorkerTimeout);
}

}  // namespace headwise
