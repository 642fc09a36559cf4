// Real processes for tests: started, watched and ended by their own ids.

#ifndef HEADWISE_TESTS_SUPPORT_CHILD_PROCESS_H_
#define HEADWISE_TESTS_SUPPORT_CHILD_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace headwise {

// One child. Not thread-safe. The destructor kills and reaps it, so that no
// test leaves a process behind; if the test itself is killed, the kernel ends
// the child.
class ChildProcess {
 public:
  // argv[0] is a path. Both outputs go to `log_path`.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(
      const std::vector<std::string>& argv, const std::string& log_path);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  void Signal(int number);
  // False once it has ended.
  bool IsRunning();
  // Exit status, or minus the signal that ended it; DeadlineExceeded if it
  // still runs after `timeout`.
  absl::StatusOr<int> Wait(absl::Duration timeout);
  // What it has written so far.
  std::string Log() const;

 private:
  ChildProcess(pid_t pid, std::string log_path)
      : pid_(pid), log_path_(std::move(log_path)) {}
  void Reap(bool block);

  const pid_t pid_;
  const std::string log_path_;
  std::optional<int> exit_;
};

// A folder of its own, removed with all that is in it.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  std::string Path(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// The number in a file that `process` writes once it is ready. Unavailable with
// its log if it ends before, DeadlineExceeded with its log if it takes longer.
absl::StatusOr<int> WaitForPortFile(const std::string& path,
                                    ChildProcess& process,
                                    absl::Duration timeout);

// Asks again every 10 ms until `condition` is true or `timeout` has passed.
template <typename Condition>
bool WaitUntil(Condition condition, absl::Duration timeout) {
  const absl::Time end = absl::Now() + timeout;
  while (!condition()) {
    if (absl::Now() > end) return false;
    absl::SleepFor(absl::Milliseconds(10));
  }
  return true;
}

}  // namespace headwise

#endif  // HEADWISE_TESTS_SUPPORT_CHILD_PROCESS_H_
