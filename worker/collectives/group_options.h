// What every kind of group lets its caller choose.

#ifndef HEADWISE_WORKER_COLLECTIVES_GROUP_OPTIONS_H_
#define HEADWISE_WORKER_COLLECTIVES_GROUP_OPTIONS_H_

#include <cstdint>

#include "absl/time/time.h"

namespace headwise {

inline constexpr int kMaxWorldSize = 64;

// See Group::StartSum.
inline constexpr int kMaxStartedSums = 2;
inline constexpr int64_t kMaxStartedSumBytes = int64_t{64} << 20;

// A waiter first spins (lowest latency, holds its core), then yields its core,
// then sleeps in the kernel until its peer wakes it.
enum class SpinMode {
  kAuto,   // spins if this process may use at least world_size CPUs
  kSpin,   // always spins first
  kYield,  // never spins: for more runnable threads than CPUs
};

struct GroupOptions {
  absl::Duration timeout = absl::Seconds(3);  // of each call, > 0
  SpinMode spin = SpinMode::kAuto;  // not for Gloo, whose waits are its own
  // The largest sum that StartSum sends at once, at most kMaxStartedSumBytes;
  // costs about four times as many bytes for each rank of a host. Larger ones
  // are sent by FinishSum. Must be the same on all ranks.
  int64_t started_sum_bytes = 0;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_GROUP_OPTIONS_H_
