// A wall clock of its own for a process, which a test moves while it runs.

#ifndef HEADWISE_TESTS_SUPPORT_WALL_CLOCK_H_
#define HEADWISE_TESTS_SUPPORT_WALL_CLOCK_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace headwise {

// The machine's own clock stays. The library that does it, wall_clock_shift.cc,
// is loaded before all others and adds the shift to what CLOCK_REALTIME says;
// waits of the kernel for a time of the wall clock are not shifted, so one that
// a program begins after a shift is wrong by as much: as on a machine whose
// clock steps during the wait.
class WallClock {
 public:
  // `path`: a file that does not exist yet.
  explicit WallClock(const std::string& path);
  ~WallClock();
  WallClock(const WallClock&) = delete;

  // Put before a command, it has this clock.
  std::vector<std::string> prefix() const;
  // From now on, against the machine's.
  void Shift(absl::Duration shift);

 private:
  const std::string path_;
  std::atomic<int64_t>* const shift_;  // nanoseconds; in the file
};

}  // namespace headwise

#endif  // HEADWISE_TESTS_SUPPORT_WALL_CLOCK_H_
