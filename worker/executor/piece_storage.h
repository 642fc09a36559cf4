// The memory of one piece of a shard: a unit's, a tile's, a layer's.

#ifndef HEADWISE_WORKER_EXECUTOR_PIECE_STORAGE_H_
#define HEADWISE_WORKER_EXECUTOR_PIECE_STORAGE_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/types/span.h"
#include "base/crc32c.h"
#include "base/huge_memory.h"

namespace headwise {

// A range of an arena, which it shares with the pieces that were loaded at the
// same time. Its pages go when it does, but for those that a neighbour shares;
// the arena goes with its last piece. What it holds when it is made is what it
// should hold for ever.
class PieceStorage {
 public:
  PieceStorage(std::shared_ptr<HugeMemory> arena, int64_t offset, int64_t bytes)
      : arena_(std::move(arena)),
        offset_(offset),
        bytes_(bytes),
        crc32c_(Crc32c(content())) {}
  ~PieceStorage() { arena_->Release(offset_, bytes_); }
  PieceStorage(const PieceStorage&) = delete;

  int64_t bytes() const { return bytes_; }
  absl::Span<const uint8_t> content() const {
    return {arena_->data() + offset_, static_cast<size_t>(bytes_)};
  }
  uint32_t crc32c() const { return crc32c_; }

 private:
  const std::shared_ptr<HugeMemory> arena_;
  const int64_t offset_;
  const int64_t bytes_;
  const uint32_t crc32c_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_PIECE_STORAGE_H_
