// Unpacks gzip and zstd.

#ifndef HEADWISE_SERVER_SELECTION_DECOMPRESSOR_H_
#define HEADWISE_SERVER_SELECTION_DECOMPRESSOR_H_

#include <memory>

#include "server/selection/byte_reader.h"
#include "server/selection/input_format.h"

namespace headwise {

// Gives the bytes of all gzip members or zstd frames, one after the other.
// Memory is bounded by the formats' windows: 32 KiB of gzip, at most 128 MiB of
// zstd. Not thread-safe.
class Decompressor : public ByteReader {
 public:
  // Requires a `compression` that is not kNone. `source` must outlive it; its
  // errors are returned by Read.
  static std::unique_ptr<Decompressor> Create(Compression compression,
                                              ByteReader* source);

  // Once Read has given its end: whether that is not the end of the content.
  // The source was cut short, is not of that format, fails a check sum, or asks
  // for a larger window. All that came before was given.
  virtual bool is_broken() const = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_DECOMPRESSOR_H_
