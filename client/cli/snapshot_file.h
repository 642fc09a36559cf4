// Snapshots in files: a first line, then messages with their lengths, as
// client/python/headwise/snapshot_file.py has it.

#ifndef HEADWISE_CLIENT_CLI_SNAPSHOT_FILE_H_
#define HEADWISE_CLIENT_CLI_SNAPSHOT_FILE_H_

#include <fstream>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"

namespace headwise {

// Messages one after another: false ends them.
using PutMessage = std::function<bool(const google::protobuf::Message&)>;

// The file appears, or replaces an older one, once it is whole; what an earlier
// try left beside it, as FILE.part, is overwritten and goes. `first_line` is
// without its end. Unavailable names what can't be written; errors of `write`.
absl::Status WriteSnapshotFile(
    const std::string& path, absl::string_view first_line,
    const std::function<absl::Status(const PutMessage&)>& write);

// Not thread-safe.
class SnapshotFileReader {
 public:
  // NotFound; InvalidArgument: `what`, "a neural memory", is not what it is a
  // snapshot of.
  static absl::StatusOr<SnapshotFileReader> Open(const std::string& path,
                                                 absl::string_view first_line,
                                                 absl::string_view what);

  // The next message; false after the last one. The server refuses what is cut
  // or changed, so what can't be read ends the messages.
  bool Next(google::protobuf::Message* message);

 private:
  explicit SnapshotFileReader(std::ifstream in) : in_(std::move(in)) {}
  std::ifstream in_;
};

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_SNAPSHOT_FILE_H_
