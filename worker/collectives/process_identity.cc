#include "worker/collectives/process_identity.h"

#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

absl::StatusOr<std::string> ReadProcFile(const std::string& path) {
  std::ifstream file(path);
  std::string text((std::istreambuf_iterator<char>(file)),
                   std::istreambuf_iterator<char>());
  if (text.empty()) return absl::NotFoundError(absl::StrCat(path, " is gone"));
  return text;
}

}  // namespace

absl::StatusOr<ProcessIdentity> IdentityOf(int64_t pid) {
  const std::string path = absl::StrCat("/proc/", pid, "/stat");
  HEADWISE_ASSIGN_OR_RETURN(const std::string text, ReadProcFile(path));
  // "pid (name) state ppid ...": the name may hold spaces and brackets, so the
  // fields are counted from its last bracket. state is field 3 of proc(5),
  // starttime field 22.
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) {
    return absl::InternalError(absl::StrCat(path, " has no process name"));
  }
  const std::vector<absl::string_view> fields = absl::StrSplit(
      absl::string_view(text).substr(name_end + 1), ' ', absl::SkipEmpty());
  ProcessIdentity identity;
  identity.pid = pid;
  if (fields.size() < 20 ||
      !absl::SimpleAtoi(fields[19], &identity.start_time)) {
    return absl::InternalError(absl::StrCat(path, " has no start time"));
  }
  if (fields[0] == "Z" || fields[0] == "X") {
    return absl::NotFoundError(absl::StrCat("process ", pid, " has died"));
  }
  return identity;
}

absl::StatusOr<ProcessIdentity> OwnIdentity() { return IdentityOf(getpid()); }

bool IsRunning(const ProcessIdentity& identity) {
  const absl::StatusOr<ProcessIdentity> now = IdentityOf(identity.pid);
  return now.ok() && *now == identity;
}

uint64_t ProcessNumber(const ProcessIdentity& identity) {
  constexpr int kPidBits = 22;  // of the kernel's PID_MAX_LIMIT
  return identity.start_time << kPidBits | static_cast<uint64_t>(identity.pid);
}

absl::StatusOr<std::string> HostId() {
  HEADWISE_ASSIGN_OR_RETURN(const std::string boot_id,
                            ReadProcFile("/proc/sys/kernel/random/boot_id"));
  struct stat pid_namespace;
  if (stat("/proc/self/ns/pid", &pid_namespace) != 0) {
    return absl::NotFoundError("/proc/self/ns/pid is not readable");
  }
  std::string id = absl::StrCat(absl::StripAsciiWhitespace(boot_id), "/",
                                pid_namespace.st_ino, "/", geteuid());
  // The kernel hides an undumpable process's files even from its own user, so
  // such a process shares memory with nobody: its id equals no other.
  if (prctl(PR_GET_DUMPABLE) != 1) absl::StrAppend(&id, "/", getpid());
  return id;
}

}  // namespace headwise
