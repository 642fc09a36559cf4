// A text that comes as a stream, in pieces that are made tokens one by one.

#ifndef HEADWISE_CLIENT_CLI_TEXT_PIECES_H_
#define HEADWISE_CLIENT_CLI_TEXT_PIECES_H_

#include <cstdint>
#include <istream>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace headwise {

// Where to cut so that the piece before has 1 to `max_bytes` bytes and tokens
// end there: before the last line whose first character is no space; else
// before the last word and its space; else between two characters. Requires a
// text longer than that by two bytes.
size_t CutBeforeTokens(absl::string_view text, size_t max_bytes);

// Not thread-safe. Holds two pieces at most.
class TextPieces {
 public:
  // `in` must outlive it.
  explicit TextPieces(std::istream& in, size_t piece_bytes = 32 << 10)
      : in_(in), piece_bytes_(piece_bytes) {}

  // nullopt: the text has ended. InvalidArgument names the first byte that is
  // not UTF-8, DataLoss says that the stream can't be read.
  absl::StatusOr<std::optional<std::string>> Next();

  // Of all pieces so far.
  int64_t num_bytes() const { return num_bytes_; }

 private:
  void Fill(size_t num_bytes);

  std::istream& in_;
  const size_t piece_bytes_;
  std::string ahead_;
  int64_t num_bytes_ = 0;
};

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_TEXT_PIECES_H_
