#include "server/selection/durable_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/selection/input_root.h"

namespace headwise {
namespace {

// Before the writer's name: no name of a committed file has it.
constexpr char kTempMark[] = ".writing-";
constexpr mode_t kFileMode = 0644;

absl::Status ErrnoStatus(int error, absl::string_view path,
                         absl::string_view what) {
  const std::string message = absl::StrCat(path, ": ", what);
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
    return absl::ResourceExhaustedError(
        absl::StrCat(message, ": ", std::strerror(error)));
  }
  return absl::ErrnoToStatus(error, message);
}

absl::Span<const uint8_t> BytesOf(absl::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace

DurableFile::DurableFile(std::string folder, std::string name,
                         std::string temp_path, int fd)
    : folder_(std::move(folder)),
      path_(absl::StrCat(folder_, "/", name)),
      temp_path_(std::move(temp_path)),
      fd_(fd) {}

absl::StatusOr<std::unique_ptr<DurableFile>> DurableFile::Create(
    const std::string& folder, const std::string& name,
    const std::string& writer) {
  std::string temp_path = absl::StrCat(folder, "/.", name, kTempMark, writer);
  const int fd =
      open(temp_path.c_str(),
           O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, kFileMode);
  if (fd < 0) {
    return ErrnoStatus(errno, absl::StrCat(folder, "/", name),
                       "can't be written");
  }
  return std::unique_ptr<DurableFile>(
      new DurableFile(folder, name, std::move(temp_path), fd));
}

DurableFile::~DurableFile() {
  if (fd_ >= 0) close(fd_);
  if (!is_committed_) unlink(temp_path_.c_str());
}

absl::Status DurableFile::Failed(int error, absl::string_view what) const {
  return ErrnoStatus(error, path_, what);
}

absl::Status DurableFile::Append(absl::string_view bytes) {
  hash_.Update(BytesOf(bytes));
  while (!bytes.empty()) {
    const ssize_t written = write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Failed(errno, "can't be written");
    num_bytes_ += written;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status DurableFile::Commit() {
  if (fsync(fd_) != 0) return Failed(errno, "can't be synced");
  // Some file systems tell only here that there was no room.
  if (close(std::exchange(fd_, -1)) != 0) {
    return Failed(errno, "can't be closed");
  }
  if (rename(temp_path_.c_str(), path_.c_str()) != 0) {
    return Failed(errno, "can't be given its name");
  }
  is_committed_ = true;
  const OwnedFd dir(open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (dir.get() < 0 || fsync(dir.get()) != 0) {
    return Failed(errno, "its folder can't be synced");
  }
  return absl::OkStatus();
}

absl::Status RemoveLeftovers(
    const std::string& folder,
    const std::function<bool(absl::string_view writer)>& is_alive) {
  DIR* const dir = opendir(folder.c_str());
  if (dir == nullptr) return ErrnoStatus(errno, folder, "can't be opened");
  const auto close_dir = absl::MakeCleanup([dir] { closedir(dir); });
  while (const dirent* entry = readdir(dir)) {
    const absl::string_view name = entry->d_name;
    const size_t mark = name.rfind(kTempMark);
    if (!absl::StartsWith(name, ".") || mark == name.npos) continue;
    if (is_alive(name.substr(mark + sizeof(kTempMark) - 1))) continue;
    const std::string path = absl::StrCat(folder, "/", name);
    if (unlink(path.c_str()) != 0 && errno != ENOENT) {
      return ErrnoStatus(errno, path, "can't be removed");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadWholeFile(const std::string& path,
                                          int64_t max_bytes) {
  const OwnedFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (fd.get() < 0) return ErrnoStatus(errno, path, "can't be opened");
  struct stat info = {};
  if (fstat(fd.get(), &info) != 0) {
    return ErrnoStatus(errno, path, "can't be read");
  }
  if (info.st_size > max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path, " has ", info.st_size, " bytes, limit ", max_bytes));
  }
  std::string text(static_cast<size_t>(info.st_size), '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t part = read(fd.get(), text.data() + size, text.size() - size);
    if (part < 0 && errno == EINTR) continue;
    if (part < 0) return ErrnoStatus(errno, path, "can't be read");
    if (part == 0) break;
    size += static_cast<size_t>(part);
  }
  text.resize(size);
  return text;
}

}  // namespace headwise
