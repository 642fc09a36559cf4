// Signs of life of this process's threads, for whoever asks whether it lives.

#ifndef HEADWISE_BASE_PULSE_H_
#define HEADWISE_BASE_PULSE_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace headwise {

// A thread that has not beaten for longer than its allowance is late: it is
// frozen, starved of its CPU, or stuck in a call that should have returned.
inline constexpr absl::Duration kPulseAllowance = absl::Seconds(5);
// For how long a loop may wait for work before it turns once, to beat.
inline constexpr absl::Duration kPulseInterval = absl::Seconds(1);

struct PulseReading {
  std::string name;
  absl::Duration age;        // since it has beaten
  absl::Duration allowance;  // what that may become
  bool is_late = false;
};

// The pulse of one loop, which the thread that turns it makes at its begin and
// beats once a turn. All pulses are in one table of the process, as its threads
// are in one list of the kernel: nobody who owns a thread has to be asked.
//
// Beat is thread-safe and costs a reading of the clock.
class Pulse {
 public:
  // For a loop that threads of others turn, as timers are. `name` is a literal
  // of 1 to 15 bytes; several may have the same.
  explicit Pulse(const char* name);
  ~Pulse();
  Pulse(const Pulse&) = delete;
  Pulse& operator=(const Pulse&) = delete;

  // The next one comes within `allowance`.
  void Beat(absl::Duration allowance = kPulseAllowance);

  PulseReading Read() const;

 private:
  const char* const name_;
  // On the monotonic clock.
  std::atomic<int64_t> beaten_ns_;
  std::atomic<int64_t> due_ns_;
};

// The same for the calling thread, which from now on has that name in `top -H`.
// One at a time on a thread, and it must end there.
class ThreadPulse : public Pulse {
 public:
  explicit ThreadPulse(const char* name);
  ~ThreadPulse();
};

// Beats the ThreadPulse of the calling thread, if it has one: for work that
// knows how long its parts may take, and not whose thread it runs on.
void BeatThreadPulse(absl::Duration allowance = kPulseAllowance);

// By name; of those of one name, the one that is late for the longest, or else
// due next.
std::vector<PulseReading> ReadPulses();

// Unavailable names every pulse of the process that is late; with `only`, of
// that name alone.
absl::Status CheckPulses(absl::string_view only = "");

}  // namespace headwise

#endif  // HEADWISE_BASE_PULSE_H_
