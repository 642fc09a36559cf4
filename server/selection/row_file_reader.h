// Reads the rows of one part of a job's output.

#ifndef HEADWISE_SERVER_SELECTION_ROW_FILE_READER_H_
#define HEADWISE_SERVER_SELECTION_ROW_FILE_READER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/selection/byte_reader.h"
#include "server/selection/decompressor.h"
#include "server/selection/document.h"
#include "server/selection/line_reader.h"

namespace headwise {

// Longer lines are refused. Six times the default of max_document_bytes, the
// most that an id of that size takes when it is written, fits.
inline constexpr int64_t kMaxRowBytes = int64_t{128} << 20;

// Not thread-safe.
class RowFileReader {
 public:
  // A name that ends in .jsonl, or that and .zst or .gz; InvalidArgument for
  // others. Else absl::ErrnoToStatus of opening it, which names the file.
  static absl::StatusOr<std::unique_ptr<RowFileReader>> Open(
      const std::string& path);

  // The next row, into `row`; false at the end. DataLoss, naming the file and
  // the line (from 1): it is no row, or the file ends within a line or can't be
  // unpacked further. ResourceExhausted: a line above kMaxRowBytes.
  absl::StatusOr<bool> Next(ScoreRow& row);

 private:
  RowFileReader(std::string path, std::unique_ptr<ByteReader> file);
  absl::Status Broken(absl::string_view what) const;

  const std::string path_;
  const std::unique_ptr<ByteReader> file_;
  std::unique_ptr<Decompressor> decompressor_;  // null: not compressed
  std::unique_ptr<LineReader> lines_;
  int64_t num_lines_ = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_ROW_FILE_READER_H_
