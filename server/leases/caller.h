// Who calls, and for how long they wait.

#ifndef HEADWISE_SERVER_LEASES_CALLER_H_
#define HEADWISE_SERVER_LEASES_CALLER_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace headwise {

// Who asks, and until when. `is_cancelled` may be empty.
struct Caller {
  std::string tenant;
  absl::Time deadline = absl::InfiniteFuture();  // of Clock::Monotonic()
  std::function<bool()> is_cancelled;
};

// Of one call to a worker: no longer than the caller waits. DeadlineExceeded or
// Cancelled if the caller is gone.
absl::StatusOr<absl::Duration> TimeoutFor(const Caller& caller,
                                          const Clock& clock);

}  // namespace headwise

#endif  // HEADWISE_SERVER_LEASES_CALLER_H_
