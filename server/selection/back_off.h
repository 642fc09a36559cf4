// How long to wait for what may come back.

#ifndef HEADWISE_SERVER_SELECTION_BACK_OFF_H_
#define HEADWISE_SERVER_SELECTION_BACK_OFF_H_

#include <algorithm>

#include "absl/time/time.h"

namespace headwise {

// Waits double from `min` to `max`. Failures within a wait are of the tries
// before it and do not lengthen it. Not thread-safe.
class BackOff {
 public:
  BackOff(absl::Duration min, absl::Duration max)
      : min_(min), max_(max), next_(min) {}

  void Failed(absl::Time now) {
    if (now < until_) return;
    until_ = now + next_;
    next_ = std::min(2 * next_, max_);
  }
  void Succeeded() {
    next_ = min_;
    until_ = absl::InfinitePast();
  }
  absl::Duration Left(absl::Time now) const {
    return std::max(absl::ZeroDuration(), until_ - now);
  }

 private:
  const absl::Duration min_;
  const absl::Duration max_;
  absl::Duration next_;
  absl::Time until_ = absl::InfinitePast();
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_BACK_OFF_H_
