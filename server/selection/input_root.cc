#include "server/selection/input_root.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <memory>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "server/selection/valid_utf8.h"

namespace headwise {
namespace {

// Names of one folder are in memory together.
constexpr size_t kMaxFolderEntries = 4'000'000;

absl::Status SystemError(int error, absl::string_view what,
                         absl::string_view name) {
  return absl::ErrnoToStatus(
      error, absl::StrCat("cannot ", what, " input ", QuotedInputName(name)));
}

std::string LinkOf(int fd) { return absl::StrCat("/proc/self/fd/", fd); }

// Where the object behind a descriptor lies; empty if it can't be told.
std::string PathOf(int fd) {
  std::array<char, PATH_MAX> path;
  const ssize_t size = readlink(LinkOf(fd).c_str(), path.data(), path.size());
  // A longer path would be cut, so a full buffer tells nothing.
  if (size <= 0 || static_cast<size_t>(size) == path.size()) return "";
  return std::string(path.data(), static_cast<size_t>(size));
}

bool IsWithin(absl::string_view path, absl::string_view root) {
  if (!absl::ConsumePrefix(&path, root)) return false;
  return path.empty() || path[0] == '/' || absl::EndsWith(root, "/");
}

}  // namespace

struct InputRoot::Handle {
  OwnedFd fd;  // O_PATH
  struct stat info;
};

OwnedFd::~OwnedFd() {
  if (fd_ >= 0) close(fd_);
}

std::string QuotedInputName(absl::string_view name) {
  return absl::StrCat("\"",
                      IsValidUtf8(name) ? absl::Utf8SafeCHexEscape(name)
                                        : absl::CHexEscape(name),
                      "\"");
}

std::string WithoutLastSlash(absl::string_view path) {
  while (path.size() > 1 && absl::ConsumeSuffix(&path, "/")) {
  }
  return std::string(path);
}

absl::Status CheckInputName(absl::string_view what, absl::string_view name) {
  const auto refuse = [&](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " ", QuotedInputName(name), " ", why));
  };
  if (name.empty()) return refuse("is empty");
  if (name.front() == '/') return refuse("is not relative to the root");
  if (!IsValidUtf8(name)) return refuse("is not UTF-8");
  if (absl::StrContains(name, '\n')) return refuse("holds a newline");
  if (name.find('\0') != name.npos) return refuse("holds a NUL");
  for (absl::string_view part : absl::StrSplit(name, '/')) {
    if (part.empty() || part == "." || part == "..") {
      return refuse("has a part that is empty, \".\" or \"..\"");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> InputFile::ReadAt(int64_t offset,
                                         absl::Span<char> into) const {
  size_t filled = 0;
  while (filled < into.size()) {
    const ssize_t got =
        pread(fd_.get(), into.data() + filled, into.size() - filled,
              static_cast<off_t>(offset + static_cast<int64_t>(filled)));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SystemError(errno, "read", name_);
    if (got == 0) break;
    filled += static_cast<size_t>(got);
  }
  return filled;
}

absl::StatusOr<InputRoot> InputRoot::Open(const std::string& root) {
  if (!absl::StartsWith(root, "/") || root.find('\0') != root.npos) {
    return absl::InvalidArgumentError(absl::StrCat(
        "root is ", QuotedInputName(root), ", expected: an absolute path"));
  }
  OwnedFd fd(open(root.c_str(), O_PATH | O_CLOEXEC));
  if (fd.get() < 0) return SystemError(errno, "open root of", root);
  struct stat info;
  if (fstat(fd.get(), &info) != 0) {
    return SystemError(errno, "stat root of", root);
  }
  if (!S_ISDIR(info.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat("root ", QuotedInputName(root), " is no folder"));
  }
  const std::string real = PathOf(fd.get());
  if (real != root) {
    return absl::InvalidArgumentError(absl::StrCat(
        "root ", QuotedInputName(root), " is not the name of a folder without ",
        "links: that is ", QuotedInputName(real)));
  }
  return InputRoot(root, std::move(fd));
}

absl::StatusOr<InputRoot::Handle> InputRoot::Locate(
    const std::string& name) const {
  if (name != ".") HEADWISE_RETURN_IF_ERROR(CheckInputName("input", name));
  OwnedFd fd(openat(fd_.get(), name.c_str(), O_PATH | O_CLOEXEC));
  if (fd.get() < 0) return SystemError(errno, "open", name);
  if (!IsWithin(PathOf(fd.get()), root_)) {
    return absl::PermissionDeniedError(
        absl::StrCat("input ", QuotedInputName(name), " lies outside the root ",
                     QuotedInputName(root_)));
  }
  Handle handle = {std::move(fd), {}};
  if (fstat(handle.fd.get(), &handle.info) != 0) {
    return SystemError(errno, "stat", name);
  }
  if (!S_ISREG(handle.info.st_mode) && !S_ISDIR(handle.info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "input ", QuotedInputName(name), " is neither a file nor a folder"));
  }
  return handle;
}

absl::StatusOr<InputRoot::Entry> InputRoot::Find(
    const std::string& name) const {
  HEADWISE_ASSIGN_OR_RETURN(const Handle handle, Locate(name));
  if (S_ISDIR(handle.info.st_mode)) return Entry{EntryType::kFolder, 0};
  return Entry{EntryType::kFile, int64_t{handle.info.st_size}};
}

absl::StatusOr<InputFile> InputRoot::OpenFile(const std::string& name) const {
  HEADWISE_ASSIGN_OR_RETURN(const Handle handle, Locate(name));
  if (!S_ISREG(handle.info.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat("input ", QuotedInputName(name), " is a folder"));
  }
  // The link of proc leads to that very object, whatever its name means now.
  OwnedFd fd(open(LinkOf(handle.fd.get()).c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return SystemError(errno, "open", name);
  // Fails where nothing is gained by it.
  posix_fadvise(fd.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  return InputFile(name, std::move(fd), int64_t{handle.info.st_size});
}

absl::StatusOr<std::vector<InputRoot::FolderEntry>> InputRoot::List(
    const std::string& name) const {
  HEADWISE_ASSIGN_OR_RETURN(const Handle handle, Locate(name));
  OwnedFd fd(open(LinkOf(handle.fd.get()).c_str(),
                  O_RDONLY | O_CLOEXEC | O_DIRECTORY));
  if (fd.get() < 0) return SystemError(errno, "list", name);
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(fdopendir(fd.get()),
                                                   closedir);
  if (folder == nullptr) return SystemError(errno, "list", name);
  const int folder_fd = fd.Release();  // the DIR's now

  std::vector<FolderEntry> entries;
  while (true) {
    errno = 0;
    const dirent* entry = readdir(folder.get());
    if (entry == nullptr && errno != 0) {
      return SystemError(errno, "list", name);
    }
    if (entry == nullptr) return entries;
    const absl::string_view entry_name = entry->d_name;
    if (entry_name == "." || entry_name == "..") continue;
    if (entries.size() == kMaxFolderEntries) {
      return absl::ResourceExhaustedError(
          absl::StrCat("input ", QuotedInputName(name), " has more than ",
                       kMaxFolderEntries, " entries"));
    }
    bool is_link = entry->d_type == DT_LNK;
    struct stat info;
    if (entry->d_type == DT_UNKNOWN &&
        fstatat(folder_fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0) {
      is_link = S_ISLNK(info.st_mode);
    }
    entries.push_back({std::string(entry_name), is_link});
  }
}

}  // namespace headwise
