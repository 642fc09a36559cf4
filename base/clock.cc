#include "base/clock.h"

#include <chrono>

namespace headwise {
namespace {

class MonotonicClock final : public Clock {
 public:
  absl::Time Now() const override {
    const auto since_boot = std::chrono::steady_clock::now().time_since_epoch();
    return absl::UnixEpoch() + absl::FromChrono(since_boot);
  }
};

}  // namespace

const Clock& Clock::Monotonic() {
  static const MonotonicClock* const clock = new MonotonicClock;
  return *clock;
}

}  // namespace headwise
