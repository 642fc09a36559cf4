// Reads a piece of a file and checks that it is the one that was planned.

#ifndef HEADWISE_SERVER_SELECTION_PIECE_READER_H_
#define HEADWISE_SERVER_SELECTION_PIECE_READER_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/sha256.h"
#include "server/selection/byte_reader.h"
#include "server/selection/input_root.h"
#include "server/selection/input_shard.h"

namespace headwise {

// Hashes the very bytes that it gives. Not thread-safe.
class PieceReader final : public ByteReader {
 public:
  PieceReader(InputFile file, ShardPiece piece);

  // DataLoss naming the file and the range: if the file ends early, at once; if
  // the hash is another, instead of the end.
  absl::StatusOr<size_t> Read(absl::Span<char> into) override;

  // Reads what is left, for the hash.
  absl::Status Drain();

  const ShardPiece& piece() const { return piece_; }

 private:
  absl::Status Changed() const;

  const InputFile file_;
  const ShardPiece piece_;
  int64_t at_;  // next byte of the file
  bool is_checked_ = false;
  Sha256 hash_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_PIECE_READER_H_
