// A file mapped read-only into memory.

#ifndef HEADWISE_BASE_MAPPED_FILE_H_
#define HEADWISE_BASE_MAPPED_FILE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace headwise {

// Immutable after Open, hence safe to share between threads. The file must not
// shrink while it is mapped: a read beyond its new end is SIGBUS.
class MappedFile {
 public:
  // InvalidArgument, at once, for what is not a regular file (a folder, a
  // FIFO); else absl::ErrnoToStatus of the call that failed: NotFound,
  // PermissionDenied, ... The message names the path. An empty file maps to an
  // empty span.
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(
      const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  absl::Span<const uint8_t> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

  // Tells the kernel that the pages may leave memory; they are read from the
  // page cache again when they are touched. Content does not change.
  void DropPages() const;

 private:
  MappedFile(std::string path, const uint8_t* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}
  std::string path_;
  const uint8_t* data_;
  size_t size_;  // bytes
};

}  // namespace headwise

#endif  // HEADWISE_BASE_MAPPED_FILE_H_
