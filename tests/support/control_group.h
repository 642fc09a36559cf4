// A control group of the kernel: less CPU or memory for processes of a test.

#ifndef HEADWISE_TESTS_SUPPORT_CONTROL_GROUP_H_
#define HEADWISE_TESTS_SUPPORT_CONTROL_GROUP_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace headwise {

// Of version 1 or 2, whichever has the controllers `cpu` and `memory`. Not
// thread-safe. The destructor moves what still runs back and removes the group.
// Where the machine does not allow it every call is a FailedPrecondition that
// says what was tried and what came of it.
class ControlGroup {
 public:
  static absl::StatusOr<std::unique_ptr<ControlGroup>> Create();
  ~ControlGroup();
  ControlGroup(const ControlGroup&) = delete;

  absl::Status Add(pid_t pid);
  // Of one CPU; 1 or more: no limit for a process of one thread.
  absl::Status LimitCpu(double share);
  // Processes that need more are killed by the kernel.
  absl::Status LimitMemory(int64_t bytes);
  // How often that has happened.
  absl::StatusOr<int64_t> NumMemoryKills() const;

 private:
  ControlGroup(bool is_v2, std::string cpu, std::string memory)
      : is_v2_(is_v2), cpu_(std::move(cpu)), memory_(std::move(memory)) {}

  const bool is_v2_;
  const std::string cpu_;     // folder of the group below that controller
  const std::string memory_;  // version 2: the same
};

}  // namespace headwise

#endif  // HEADWISE_TESTS_SUPPORT_CONTROL_GROUP_H_
