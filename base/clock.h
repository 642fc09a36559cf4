// Time, injected so that tests can own it.

#ifndef HEADWISE_BASE_CLOCK_H_
#define HEADWISE_BASE_CLOCK_H_

#include "absl/time/time.h"

namespace headwise {

// Thread-safe. Now() is monotonic: steps of the wall clock do not move it, so
// it is for deadlines and durations only.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;

  // The machine's monotonic clock; never destroyed.
  static const Clock& Monotonic();
};

}  // namespace headwise

#endif  // HEADWISE_BASE_CLOCK_H_
