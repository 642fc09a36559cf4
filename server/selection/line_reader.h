// Cuts a stream of bytes into lines of bounded length.

#ifndef HEADWISE_SERVER_SELECTION_LINE_READER_H_
#define HEADWISE_SERVER_SELECTION_LINE_READER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/selection/byte_reader.h"

namespace headwise {

// Not thread-safe.
class LineReader {
 public:
  // `source` must outlive it. Lines longer than `max_line_bytes`, without their
  // end, are not kept.
  LineReader(ByteReader* source, int64_t max_line_bytes);

  struct Line {
    int64_t offset = 0;  // of its first byte in the stream
    // Without its end, "\n" or the end of the stream; valid until the next
    // call.
    absl::string_view text;
    bool is_too_long = false;  // then `text` is empty
    bool is_last = false;      // ended by the stream's end, not by "\n"
  };

  // nullopt: the end; no line follows a "\n" at the stream's end.
  absl::StatusOr<std::optional<Line>> Next();

  int64_t offset() const { return offset_; }  // bytes of all lines so far

 private:
  ByteReader* const source_;
  const int64_t max_line_bytes_;
  std::vector<char> buffer_;
  absl::string_view unread_;  // of buffer_
  std::string line_;          // that began in an earlier buffer
  int64_t offset_ = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_LINE_READER_H_
