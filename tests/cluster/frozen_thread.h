// One thread of another process, stopped alone.

#ifndef HEADWISE_TESTS_CLUSTER_FROZEN_THREAD_H_
#define HEADWISE_TESTS_CLUSTER_FROZEN_THREAD_H_

#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace headwise {

// Ids of the threads of `pid` with that name (base/pulse.h).
inline std::vector<pid_t> ThreadsOf(pid_t pid, const std::string& name) {
  std::vector<pid_t> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(
           absl::StrCat("/proc/", pid, "/task"), error)) {
    std::ifstream file(entry.path() / "comm");
    std::string comm;
    pid_t tid = 0;
    if (std::getline(file, comm) && comm == name &&
        absl::SimpleAtoi(entry.path().filename().string(), &tid)) {
      found.push_back(tid);
    }
  }
  return found;
}

// It waits, and not for a disk.
inline bool IsAsleep(pid_t pid, pid_t tid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/task/", tid, "/stat"));
  std::string text;
  std::getline(file, text);
  const size_t name_end = text.rfind(") ");
  return name_end != std::string::npos && text.substr(name_end + 2, 1) == "S";
}

// Stops until it is destroyed, by the same thread that made it: the kernel
// takes a tracer's thread for the tracer. The process must be a child of ours.
class FrozenThread {
 public:
  static absl::StatusOr<std::unique_ptr<FrozenThread>> Freeze(pid_t tid) {
    if (ptrace(PTRACE_SEIZE, tid, nullptr, nullptr) != 0) {
      return absl::ErrnoToStatus(errno, absl::StrCat("seize thread ", tid));
    }
    auto frozen = std::unique_ptr<FrozenThread>(new FrozenThread(tid));
    if (ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr) != 0) {
      return absl::ErrnoToStatus(errno, absl::StrCat("interrupt ", tid));
    }
    int status = 0;
    if (waitpid(tid, &status, __WALL) != tid || !WIFSTOPPED(status)) {
      return absl::InternalError(absl::StrCat("thread ", tid, " did not stop"));
    }
    return frozen;
  }
  ~FrozenThread() { ptrace(PTRACE_DETACH, tid_, nullptr, nullptr); }
  FrozenThread(const FrozenThread&) = delete;
  FrozenThread& operator=(const FrozenThread&) = delete;

 private:
  explicit FrozenThread(pid_t tid) : tid_(tid) {}
  const pid_t tid_;
};

}  // namespace headwise

#endif  // HEADWISE_TESTS_CLUSTER_FROZEN_THREAD_H_
