#include "server/selection/spill_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace headwise {
namespace {

// Where the file system can't make a file without a name, it has one until the
// next call.
int OpenNamed(const std::string& folder) {
  std::string path = folder + "/.headwise-spill-XXXXXX";
  const int fd = mkostemp(path.data(), O_CLOEXEC);
  if (fd >= 0) unlink(path.c_str());
  return fd;
}

bool IsNoRoom(int error) {
  return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SpillFile>> SpillFile::Create(
    const std::string& folder) {
  int fd = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  // Kernels and file systems that don't know O_TMPFILE say one of these.
  if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
    fd = OpenNamed(folder);
  }
  if (fd < 0) {
    return absl::ErrnoToStatus(
        errno, absl::StrCat("cannot make a temporary file in ", folder));
  }
  return std::unique_ptr<SpillFile>(new SpillFile(folder, fd));
}

SpillFile::~SpillFile() { close(fd_); }

absl::Status SpillFile::Append(absl::string_view bytes) {
  int64_t at = num_bytes_;
  while (!bytes.empty()) {
    const ssize_t written = pwrite(fd_, bytes.data(), bytes.size(), at);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && IsNoRoom(errno)) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "no room in ", folder_, " for ", bytes.size(), " bytes more than ",
          at, " of a temporary file: ", std::strerror(errno)));
    }
    if (written < 0) {
      return absl::ErrnoToStatus(
          errno, absl::StrCat("cannot write a temporary file in ", folder_));
    }
    at += written;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  num_bytes_ = at;
  return absl::OkStatus();
}

absl::Status SpillFile::Read(int64_t offset, absl::Span<char> out) const {
  while (!out.empty()) {
    const ssize_t read = pread(fd_, out.data(), out.size(), offset);
    if (read < 0 && errno == EINTR) continue;
    if (read < 0) {
      return absl::ErrnoToStatus(
          errno, absl::StrCat("cannot read a temporary file in ", folder_));
    }
    if (read == 0) {
      return absl::DataLossError(absl::StrCat("a temporary file in ", folder_,
                                              " ends at byte ", offset, ", ",
                                              out.size(), " too early"));
    }
    offset += read;
    out.remove_prefix(static_cast<size_t>(read));
  }
  return absl::OkStatus();
}

}  // namespace headwise
