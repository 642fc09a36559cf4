// A stream of bytes that is read once.

#ifndef HEADWISE_SERVER_SELECTION_BYTE_READER_H_
#define HEADWISE_SERVER_SELECTION_BYTE_READER_H_

#include <cstddef>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace headwise {

class ByteReader {
 public:
  virtual ~ByteReader() = default;

  // Puts at least one byte into `into`, which must not be empty, and returns
  // how many; 0: the end, also of later calls.
  virtual absl::StatusOr<size_t> Read(absl::Span<char> into) = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_BYTE_READER_H_
