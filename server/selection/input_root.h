// The folder that holds all input of a job, and the only way into it.

#ifndef HEADWISE_SERVER_SELECTION_INPUT_ROOT_H_
#define HEADWISE_SERVER_SELECTION_INPUT_ROOT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace headwise {

// Owns a file descriptor. Not thread-safe.
class OwnedFd {
 public:
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~OwnedFd();

  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;  // -1: none
};

// A regular file, open for reading. Thread-safe.
class InputFile {
 public:
  InputFile(std::string name, OwnedFd fd, int64_t size)
      : name_(std::move(name)), fd_(std::move(fd)), size_(size) {}

  const std::string& name() const { return name_; }  // relative to the root
  int64_t size() const { return size_; }  // bytes, when it was opened

  // Fills `into` from byte `offset` on; less only at the end of the file.
  absl::StatusOr<size_t> ReadAt(int64_t offset, absl::Span<char> into) const;

 private:
  std::string name_;
  OwnedFd fd_;
  int64_t size_;
};

// Links are followed within the root. One that leaves it is refused before what
// it points to is opened, also if somebody exchanges folders meanwhile: it is
// the object itself, held by a descriptor that can't read, that is asked where
// it lies. Names are relative; errors name them. Thread-safe.
class InputRoot {
 public:
  // InvalidArgument unless `root` is absolute, a folder, and named without any
  // link; NotFound or PermissionDenied if it can't be opened.
  static absl::StatusOr<InputRoot> Open(const std::string& root);

  enum class EntryType { kFile, kFolder };
  struct Entry {
    EntryType type = EntryType::kFile;
    int64_t size = 0;  // bytes, of a file
  };

  // "." is the root itself. InvalidArgument for what is neither file nor
  // folder; NotFound; PermissionDenied for what lies outside the root.
  absl::StatusOr<Entry> Find(const std::string& name) const;

  // As Find; InvalidArgument for a folder.
  absl::StatusOr<InputFile> OpenFile(const std::string& name) const;

  struct FolderEntry {
    std::string name;  // of the entry alone
    bool is_link = false;
  };
  // Without "." and "..", in any order. As Find; InvalidArgument for a file.
  absl::StatusOr<std::vector<FolderEntry>> List(const std::string& name) const;

 private:
  struct Handle;
  InputRoot(std::string root, OwnedFd fd)
      : root_(std::move(root)), fd_(std::move(fd)) {}
  // A descriptor that can't read, of what lies within the root.
  absl::StatusOr<Handle> Locate(const std::string& name) const;

  std::string root_;
  OwnedFd fd_;
};

// InvalidArgument unless `name` may be that of an input: relative, no part of
// it empty, "." or "..", UTF-8 without a newline. `what` begins the message.
absl::Status CheckInputName(absl::string_view what, absl::string_view name);

// A path without the slashes that may end it.
std::string WithoutLastSlash(absl::string_view path);

// Whose name it is, fit for a message whatever its bytes are.
std::string QuotedInputName(absl::string_view name);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_INPUT_ROOT_H_
