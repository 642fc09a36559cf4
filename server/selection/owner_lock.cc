#include "server/selection/owner_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace headwise {
namespace {

std::string PathOf(const std::string& folder, const std::string& owner) {
  return absl::StrCat(folder, "/server-", owner, ".lock");
}

int Lock(int fd, int operation) {
  int result = 0;
  do {
    result = flock(fd, operation);
  } while (result != 0 && errno == EINTR);
  return result;
}

}  // namespace

absl::StatusOr<std::unique_ptr<OwnerLock>> OwnerLock::Take(
    const std::string& folder, const std::string& owner) {
  const std::string path = PathOf(folder, owner);
  while (true) {
    OwnedFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (fd.get() < 0 || Lock(fd.get(), LOCK_EX) != 0) {
      return absl::ErrnoToStatus(errno,
                                 absl::StrCat(path, ": can't be locked"));
    }
    // Between the two calls, IsAlive of another may have removed it.
    struct stat info = {};
    if (fstat(fd.get(), &info) == 0 && info.st_nlink > 0) {
      return std::unique_ptr<OwnerLock>(new OwnerLock(path, std::move(fd)));
    }
  }
}

OwnerLock::~OwnerLock() { unlink(path_.c_str()); }

bool OwnerLock::IsAlive(const std::string& folder, const std::string& owner) {
  const std::string path = PathOf(folder, owner);
  const OwnedFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (fd.get() < 0) return errno != ENOENT;
  if (Lock(fd.get(), LOCK_EX | LOCK_NB) != 0) return true;
  unlink(path.c_str());
  return false;
}

}  // namespace headwise
