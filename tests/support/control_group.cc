#include "tests/support/control_group.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

constexpr int64_t kCpuPeriodMicros = 100'000;

absl::Status NotAllowed(const std::string& what, const std::string& why) {
  return absl::FailedPreconditionError(absl::StrCat(
      "this machine gives tests no control group: ", what, ": ", why));
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

absl::Status WriteTo(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text << std::flush;
  if (file) return absl::OkStatus();
  return NotAllowed(absl::StrCat("write ", text, " to ", path),
                    std::strerror(errno));
}

// Where a controller of version 1, or version 2 as a whole, is mounted; empty:
// nowhere.
std::string MountOf(const std::string& type, const std::string& controller) {
  for (const absl::string_view line :
       absl::StrSplit(ReadAll("/proc/self/mounts"), '\n')) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ');
    if (fields.size() < 4 || fields[2] != type) continue;
    const std::vector<std::string> options = absl::StrSplit(fields[3], ',');
    if (controller.empty() ||
        std::count(options.begin(), options.end(), controller) > 0) {
      return fields[1];
    }
  }
  return "";
}

// The folder that this process is in; the root's where that is not to be seen,
// as in a container.
std::string OwnFolder(const std::string& mount, const std::string& controller) {
  for (const absl::string_view line :
       absl::StrSplit(ReadAll("/proc/self/cgroup"), '\n')) {
    const std::vector<std::string> fields =
        absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    const std::vector<std::string> names = absl::StrSplit(fields[1], ',');
    if (std::count(names.begin(), names.end(), controller) == 0) continue;
    const std::string own = mount + fields[2];
    if (access(own.c_str(), W_OK) == 0) return own;
  }
  return mount;
}

absl::StatusOr<std::string> MakeFolder(const std::string& parent) {
  static int number = 0;
  const std::string path =
      absl::StrCat(parent, "/headwise-test-", getpid(), "-", number++);
  if (mkdir(path.c_str(), 0755) == 0) return path;
  return NotAllowed(absl::StrCat("mkdir ", path), std::strerror(errno));
}

// Processes of a group that is removed go to its parent.
void RemoveFolder(const std::string& path) {
  const std::string parent = path.substr(0, path.rfind('/'));
  for (int i = 0; i < 100; ++i) {
    for (const absl::string_view pid :
         absl::StrSplit(ReadAll(path + "/cgroup.procs"), '\n')) {
      if (!pid.empty()) {
        WriteTo(parent + "/cgroup.procs", std::string(pid)).IgnoreError();
      }
    }
    if (rmdir(path.c_str()) == 0 || errno == ENOENT) return;
    absl::SleepFor(absl::Milliseconds(10));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<ControlGroup>> ControlGroup::Create() {
  const std::string cpu_mount = MountOf("cgroup", "cpu");
  const std::string memory_mount = MountOf("cgroup", "memory");
  if (!cpu_mount.empty() && !memory_mount.empty()) {
    HEADWISE_ASSIGN_OR_RETURN(std::string cpu,
                              MakeFolder(OwnFolder(cpu_mount, "cpu")));
    absl::StatusOr<std::string> memory =
        MakeFolder(OwnFolder(memory_mount, "memory"));
    if (!memory.ok()) {
      RemoveFolder(cpu);
      return memory.status();
    }
    return std::unique_ptr<ControlGroup>(
        new ControlGroup(/*is_v2=*/false, cpu, *memory));
  }
  const std::string mount = MountOf("cgroup2", "");
  if (mount.empty()) return NotAllowed("/proc/self/mounts", "no cgroup there");
  const std::string controllers = ReadAll(mount + "/cgroup.controllers");
  for (const char* needed : {"cpu", "memory"}) {
    if (!absl::StrContains(controllers, needed)) {
      return NotAllowed(mount + "/cgroup.controllers",
                        absl::StrCat("no ", needed, " in: ", controllers));
    }
  }
  HEADWISE_RETURN_IF_ERROR(
      WriteTo(mount + "/cgroup.subtree_control", "+cpu +memory"));
  HEADWISE_ASSIGN_OR_RETURN(std::string folder, MakeFolder(mount));
  return std::unique_ptr<ControlGroup>(
      new ControlGroup(/*is_v2=*/true, folder, folder));
}

ControlGroup::~ControlGroup() {
  RemoveFolder(cpu_);
  if (!is_v2_) RemoveFolder(memory_);
}

absl::Status ControlGroup::Add(pid_t pid) {
  HEADWISE_RETURN_IF_ERROR(WriteTo(cpu_ + "/cgroup.procs", absl::StrCat(pid)));
  if (is_v2_) return absl::OkStatus();
  return WriteTo(memory_ + "/cgroup.procs", absl::StrCat(pid));
}

absl::Status ControlGroup::LimitCpu(double share) {
  const auto quota = static_cast<int64_t>(share * kCpuPeriodMicros);
  if (is_v2_) {
    return WriteTo(cpu_ + "/cpu.max",
                   absl::StrCat(quota, " ", kCpuPeriodMicros));
  }
  HEADWISE_RETURN_IF_ERROR(
      WriteTo(cpu_ + "/cpu.cfs_period_us", absl::StrCat(kCpuPeriodMicros)));
  return WriteTo(cpu_ + "/cpu.cfs_quota_us", absl::StrCat(quota));
}

absl::Status ControlGroup::LimitMemory(int64_t bytes) {
  return WriteTo(memory_ + (is_v2_ ? "/memory.max" : "/memory.limit_in_bytes"),
                 absl::StrCat(bytes));
}

absl::StatusOr<int64_t> ControlGroup::NumMemoryKills() const {
  const std::string path =
      memory_ + (is_v2_ ? "/memory.events" : "/memory.oom_control");
  for (const absl::string_view line : absl::StrSplit(ReadAll(path), '\n')) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ');
    int64_t count = 0;
    if (fields.size() == 2 && fields[0] == "oom_kill" &&
        absl::SimpleAtoi(fields[1], &count)) {
      return count;
    }
  }
  return NotAllowed(path, "no line oom_kill");
}

}  // namespace headwise
