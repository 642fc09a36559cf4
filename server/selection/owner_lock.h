// Tells the servers of a state folder from each other, and the dead from those
// that live.

#ifndef HEADWISE_SERVER_SELECTION_OWNER_LOCK_H_
#define HEADWISE_SERVER_SELECTION_OWNER_LOCK_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "server/selection/input_root.h"

namespace headwise {

// A file that is locked as long as this object lives; the kernel unlocks it
// when the process ends, however it ends. For one machine.
class OwnerLock {
 public:
  // `owner`: hexadecimal digits, nobody else's.
  static absl::StatusOr<std::unique_ptr<OwnerLock>> Take(
      const std::string& folder, const std::string& owner);
  ~OwnerLock();

  // False only if the owner is dead; its file is removed then.
  static bool IsAlive(const std::string& folder, const std::string& owner);

 private:
  OwnerLock(std::string path, OwnedFd fd)
      : path_(std::move(path)), fd_(std::move(fd)) {}

  const std::string path_;
  const OwnedFd fd_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_OWNER_LOCK_H_
