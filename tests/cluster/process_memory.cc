#include "tests/cluster/process_memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace headwise {
namespace {

constexpr uint64_t kReadBytes = 1 << 20;

// Read in pieces that overlap by what may be cut in two.
std::optional<uint64_t> FindInRange(int memory, uint64_t begin, uint64_t end,
                                    absl::string_view bytes) {
  std::string piece(kReadBytes + bytes.size(), '\0');
  for (uint64_t at = begin; at < end; at += kReadBytes) {
    const ssize_t got =
        pread(memory, piece.data(), std::min<uint64_t>(piece.size(), end - at),
              static_cast<off_t>(at));
    if (got <= 0) continue;
    const size_t found =
        absl::string_view(piece.data(), static_cast<size_t>(got)).find(bytes);
    if (found != absl::string_view::npos) return at + found;
  }
  return std::nullopt;
}

}  // namespace

std::optional<uint64_t> FindInMemory(pid_t process, absl::string_view bytes) {
  const int memory =
      open(absl::StrCat("/proc/", process, "/mem").c_str(), O_RDONLY);
  if (memory < 0) return std::nullopt;
  std::ifstream maps(absl::StrCat("/proc/", process, "/maps"));
  std::optional<uint64_t> found;
  for (std::string line; !found.has_value() && std::getline(maps, line);) {
    unsigned long begin = 0, end = 0, inode = 0;
    char access[5] = "";
    if (std::sscanf(line.c_str(), "%lx-%lx %4s %*x %*s %lu", &begin, &end,
                    access, &inode) != 4) {
      continue;
    }
    if (inode != 0 || !absl::StartsWith(access, "rw")) continue;
    found = FindInRange(memory, begin, end, bytes);
  }
  close(memory);
  return found;
}

absl::Status WriteToMemory(pid_t process, uint64_t address,
                           const std::string& bytes) {
  const std::string path = absl::StrCat("/proc/", process, "/mem");
  const int memory = open(path.c_str(), O_WRONLY);
  if (memory < 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " can't be opened: ", std::strerror(errno)));
  }
  const ssize_t written =
      pwrite(memory, bytes.data(), bytes.size(), static_cast<off_t>(address));
  close(memory);
  if (written == static_cast<ssize_t>(bytes.size())) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(path, " can't be written: ", std::strerror(errno)));
}

}  // namespace headwise
