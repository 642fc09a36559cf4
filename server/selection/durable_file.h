// A file that is there whole or not at all, whatever ends the process.

#ifndef HEADWISE_SERVER_SELECTION_DURABLE_FILE_H_
#define HEADWISE_SERVER_SELECTION_DURABLE_FILE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/sha256.h"

namespace headwise {

// Written under a name that begins with a dot and ends with `writer`, and given
// its own by Commit. Errors are absl::ErrnoToStatus of the call that failed,
// ResourceExhausted where the disk, a quota or a limit of the process leaves no
// room; messages name the file. Not thread-safe.
class DurableFile {
 public:
  // `name` has no slash. One writer writes a name once at a time.
  static absl::StatusOr<std::unique_ptr<DurableFile>> Create(
      const std::string& folder, const std::string& name,
      const std::string& writer);
  // Removes what was not committed.
  ~DurableFile();
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;

  absl::Status Append(absl::string_view bytes);

  // Syncs the file, replaces one of that name, and syncs the folder. Once.
  absl::Status Commit();

  int64_t num_bytes() const { return num_bytes_; }
  // Of all bytes, hexadecimal. Once, after the last Append.
  std::string Sha256() { return Sha256Hex(hash_.Finish()); }

 private:
  DurableFile(std::string folder, std::string name, std::string temp_path,
              int fd);
  // Of `error`, an errno.
  absl::Status Failed(int error, absl::string_view what) const;

  const std::string folder_;
  const std::string path_;
  const std::string temp_path_;  // no file has it once it was committed
  int fd_;                       // -1: closed
  bool is_committed_ = false;
  int64_t num_bytes_ = 0;
  headwise::Sha256 hash_;
};

// Removes what writers that are not `is_alive` left in `folder`.
absl::Status RemoveLeftovers(
    const std::string& folder,
    const std::function<bool(absl::string_view writer)>& is_alive);

// What a file holds. NotFound; ResourceExhausted above `max_bytes`; the errors
// of reading.
absl::StatusOr<std::string> ReadWholeFile(const std::string& path,
                                          int64_t max_bytes);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_DURABLE_FILE_H_
