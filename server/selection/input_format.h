// What a file's name says of its content.

#ifndef HEADWISE_SERVER_SELECTION_INPUT_FORMAT_H_
#define HEADWISE_SERVER_SELECTION_INPUT_FORMAT_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace headwise {

enum class Compression : uint8_t { kNone, kGzip, kZstd };

struct InputFormat {
  bool is_lines = false;  // a document per line; else the file is one
  Compression compression = Compression::kNone;

  // Such a file can't be entered in its middle.
  bool is_one_piece() const {
    return !is_lines || compression != Compression::kNone;
  }
  bool operator==(const InputFormat&) const = default;
};

// Decided by the name's endings alone, in either case. InvalidArgument for
// those of formats that are no text.
absl::StatusOr<InputFormat> FormatOfName(absl::string_view name);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_INPUT_FORMAT_H_
