// Makes every wait with a limit follow the monotonic clock: those of Abseil's
// Mutex, CondVar and Notification, and with them gRPC's timers.
//
// Abseil 20220623 turns "for 2 s" into a time of the wall clock and lets the
// kernel wait for that, so after a step back by an hour a wait of 2 s lasts an
// hour and 2 s. Its extension point for how a thread waits is a weak function;
// this one replaces it in each program that links headwise_base: as the
// original, but the time that is left is taken once, at the begin, and waited
// for on CLOCK_MONOTONIC. Later versions (from 20230802 on) do so themselves.

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <ctime>

#include "absl/base/config.h"

#if ABSL_LTS_RELEASE_VERSION < 20230802

#include "absl/base/internal/thread_identity.h"
#include "absl/synchronization/internal/create_thread_identity.h"
#include "absl/synchronization/internal/kernel_timeout.h"
#include "absl/synchronization/internal/per_thread_sem.h"
#include "absl/synchronization/internal/waiter.h"
#include "absl/time/clock.h"

#if ABSL_LTS_RELEASE_VERSION != 20220623
#error "compare AbslInternalPerThreadSemWait with this Abseil's, then go on"
#endif
#if ABSL_WAITER_MODE != ABSL_WAITER_MODE_FUTEX
#error "only Abseil's waiter by futex is known here"
#endif

namespace {

using absl::base_internal::ThreadIdentity;
using absl::synchronization_internal::KernelTimeout;
using absl::synchronization_internal::Waiter;

constexpr int64_t kSecond = 1'000'000'000;  // in nanoseconds

int64_t NowOn(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * kSecond + now.tv_nsec;
}

// How long it is until `timeout`, a time of the wall clock. There are two of
// these for up to 2 s after a step: waits for a duration ask gettimeofday, but
// absl::Now() counts cycles and looks at the clock only so often. A caller may
// have used either, so the one counts by which the time is nearer.
int64_t TimeLeft(KernelTimeout timeout) {
  const timespec wall = timeout.MakeAbsTimespec();
  // Half of the range at most, so that no sum leaves it.
  constexpr int64_t kMaxSeconds = INT64_MAX / kSecond / 2;
  const int64_t at =
      std::min<int64_t>(wall.tv_sec, kMaxSeconds) * kSecond + wall.tv_nsec;
  const int64_t by_abseil = at - absl::GetCurrentTimeNanos();
  const int64_t by_kernel = at - NowOn(CLOCK_REALTIME);
  const int64_t left =
      std::abs(by_abseil) < std::abs(by_kernel) ? by_abseil : by_kernel;
  return std::max<int64_t>(left, 0);
}

timespec MonotonicDeadline(KernelTimeout timeout) {
  const int64_t deadline = NowOn(CLOCK_MONOTONIC) + TimeLeft(timeout);
  return {.tv_sec = deadline / kSecond, .tv_nsec = deadline % kSecond};
}

// Takes one from the thread's semaphore, a futex at the begin of its state;
// false if `timeout` passes first.
bool WaitOn(ThreadIdentity* identity, KernelTimeout timeout) {
  static_assert(sizeof(Waiter) == sizeof(std::atomic<int32_t>));
  auto* const futex =
      reinterpret_cast<std::atomic<int32_t>*>(identity->waiter_state.data);
  timespec deadline;
  if (timeout.has_timeout()) deadline = MonotonicDeadline(timeout);
  for (bool first = true;; first = false) {
    int32_t count = futex->load(std::memory_order_relaxed);
    while (count != 0) {
      if (futex->compare_exchange_weak(count, count - 1,
                                       std::memory_order_acquire,
                                       std::memory_order_relaxed)) {
        return true;
      }
    }
    if (!first) {
      // Woken by Abseil's ticker, which asks whether the thread is idle.
      const int ticker = identity->ticker.load(std::memory_order_relaxed);
      const int begin = identity->wait_start.load(std::memory_order_relaxed);
      if (ticker - begin > Waiter::kIdlePeriods) {
        identity->is_idle.store(true, std::memory_order_relaxed);
      }
    }
    // An absolute time; without FUTEX_CLOCK_REALTIME on CLOCK_MONOTONIC.
    const long result =
        syscall(SYS_futex, futex, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0,
                timeout.has_timeout() ? &deadline : nullptr, nullptr,
                FUTEX_BITSET_MATCH_ANY);
    if (result != 0 && errno == ETIMEDOUT) return false;
  }
}

}  // namespace

extern "C" {

// Named on the link line, so that the archive's member is taken.
void HeadwiseMonotonicWaits() {}

bool ABSL_INTERNAL_C_SYMBOL(AbslInternalPerThreadSemWait)(
    absl::synchronization_internal::KernelTimeout timeout) {
  ThreadIdentity* const identity =
      absl::synchronization_internal::GetOrCreateCurrentThreadIdentity();
  const int ticker = identity->ticker.load(std::memory_order_relaxed);
  // 0 would say that the thread does not wait.
  identity->wait_start.store(ticker != 0 ? ticker : 1,
                             std::memory_order_relaxed);
  identity->is_idle.store(false, std::memory_order_relaxed);
  std::atomic<int>* const blocked = identity->blocked_count_ptr;
  if (blocked != nullptr) blocked->fetch_add(1, std::memory_order_relaxed);
  const bool posted = WaitOn(identity, timeout);
  if (blocked != nullptr) blocked->fetch_sub(1, std::memory_order_relaxed);
  identity->is_idle.store(false, std::memory_order_relaxed);
  identity->wait_start.store(0, std::memory_order_relaxed);
  return posted;
}

}  // extern "C"

#else

extern "C" void HeadwiseMonotonicWaits() {}

#endif
