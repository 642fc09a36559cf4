// The rows of a shard, as a file: lines of row_codec.h, compressed with zstd.

#ifndef HEADWISE_SERVER_SELECTION_SHARD_OUTPUT_H_
#define HEADWISE_SERVER_SELECTION_SHARD_OUTPUT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/selection/document.h"
#include "server/selection/durable_file.h"

namespace headwise {

// "part-000000.jsonl.zst"
std::string PartName(int64_t shard);

struct PartFile {
  int64_t num_rows = 0;
  int64_t num_bytes = 0;  // of the file
  std::string sha256;     // of the file, hexadecimal
};

// The file's bytes are a function of its rows and the version of libzstd: one
// frame, level 3, one thread, check sum, no content size, and the text is
// handed over in pieces of one size. Memory: 2 MB. Errors as DurableFile. Not
// thread-safe.
class ShardOutput {
 public:
  // Of `folder`/PartName(shard). `writer` as of DurableFile.
  static absl::StatusOr<std::unique_ptr<ShardOutput>> Create(
      const std::string& folder, int64_t shard, const std::string& writer);
  ~ShardOutput();

  absl::Status Add(const ScoreRow& row);
  // The file is there afterwards. Once.
  absl::StatusOr<PartFile> Commit();

 private:
  struct Compressor;
  ShardOutput(std::unique_ptr<DurableFile> file,
              std::unique_ptr<Compressor> compressor);
  absl::Status Compress(absl::string_view text, bool is_last);

  std::unique_ptr<DurableFile> file_;
  std::unique_ptr<Compressor> compressor_;
  std::string text_;  // not compressed yet
  int64_t num_rows_ = 0;
};

// Calls `take` for each row of the file, then compares its SHA-256. DataLoss:
// it is not that file (`take` may have been called), NotFound; an error of
// `take` ends it and is returned.
absl::Status ReadPart(const std::string& path, const std::string& sha256,
                      const std::function<absl::Status(ScoreRow& row)>& take);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_SHARD_OUTPUT_H_
