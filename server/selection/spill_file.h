// A file without a name, for what does not fit into memory.

#ifndef HEADWISE_SERVER_SELECTION_SPILL_FILE_H_
#define HEADWISE_SERVER_SELECTION_SPILL_FILE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace headwise {

// Its bytes go with the object, or with the process however that ends. Not
// thread-safe.
class SpillFile {
 public:
  // absl::ErrnoToStatus of the call that failed; the message names the folder.
  static absl::StatusOr<std::unique_ptr<SpillFile>> Create(
      const std::string& folder);
  ~SpillFile();
  SpillFile(const SpillFile&) = delete;
  SpillFile& operator=(const SpillFile&) = delete;

  // ResourceExhausted if the disk, a quota or a limit of the process leaves no
  // room; names the folder and the sizes.
  absl::Status Append(absl::string_view bytes);

  // Fills `out` with the bytes from `offset` on. DataLoss beyond the end.
  absl::Status Read(int64_t offset, absl::Span<char> out) const;

  int64_t num_bytes() const { return num_bytes_; }

 private:
  SpillFile(std::string folder, int fd) : folder_(std::move(folder)), fd_(fd) {}

  const std::string folder_;
  const int fd_;
  int64_t num_bytes_ = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_SPILL_FILE_H_
