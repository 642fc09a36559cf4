// Finds packed weights that have changed in memory.

#ifndef HEADWISE_WORKER_EXECUTOR_WEIGHT_CHECK_H_
#define HEADWISE_WORKER_EXECUTOR_WEIGHT_CHECK_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/executor/shard_weights.h"

namespace headwise {

// A bit that flips in a weight changes answers and not their shape: nobody else
// would notice, for all ranks add what this one says. Not thread-safe.
class WeightCheck {
 public:
  // How to come by bytes of a piece that lie elsewhere: `offset` counts from
  // the piece's begin. What it gives is valid until its next call.
  using Reader = std::function<absl::StatusOr<absl::Span<const uint8_t>>(
      const void* piece, int64_t offset, int64_t num_bytes)>;

  // `weights` must outlive it.
  explicit WeightCheck(const ShardWeights& weights);
  // Of a copy of `weights`, which may go; `piece` of the reader is the
  // PieceStorage that was copied.
  WeightCheck(const ShardWeights& weights, Reader reader);

  // The next bytes in turn, at least one if there are any, and all of them if
  // `max_bytes` is as many. DataLoss names the piece whose checksum is not what
  // it was when it was packed; it is told once it was looked at to its end.
  // Other errors are the reader's.
  absl::Status Check(int64_t max_bytes);

  int64_t bytes() const { return bytes_; }

 private:
  struct Piece {
    const PieceStorage* storage;  // only a name if there is a reader
    int64_t bytes;
    uint32_t crc32c;  // as it was packed
    std::string name;
  };
  void Add(const SharedStorage& storage, std::string name);

  const Reader reader_;
  std::vector<Piece> pieces_;
  int64_t bytes_ = 0;
  size_t next_ = 0;      // of pieces_
  int64_t offset_ = 0;   // in it
  uint32_t crc32c_ = 0;  // of what is before
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_WEIGHT_CHECK_H_
