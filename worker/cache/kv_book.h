// Which blocks of a rank's KV cache belong to which sequence and unit.

#ifndef HEADWISE_WORKER_CACHE_KV_BOOK_H_
#define HEADWISE_WORKER_CACHE_KV_BOOK_H_

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"

namespace headwise {

// Positions in one block.
inline constexpr int64_t kKvBlockPositions = 64;

// Books only: block ids are integers, the bytes lie elsewhere. A sequence has
// one block table per unit of the rank; a rank without units still knows the
// length of every sequence. Not thread-safe.
class KvBook {
 public:
  // `num_units` of the rank, `capacity_blocks` over all of them.
  KvBook(int64_t num_units, int64_t capacity_blocks);

  bool Contains(uint64_t sequence_id) const;
  // Positions stored; 0 for an unknown sequence.
  int64_t Length(uint64_t sequence_id) const;

  // Blocks that `num_positions` more positions of the sequence would need.
  int64_t BlocksNeeded(uint64_t sequence_id, int64_t num_positions) const;

  // Adds positions, creating the sequence if it is new. ResourceExhausted with
  // needed and free blocks, and nothing changed, if they do not fit.
  absl::Status Append(uint64_t sequence_id, int64_t num_positions);

  // Returns the sequence's blocks; no effect if it is unknown.
  void Free(uint64_t sequence_id);

  // Block ids of the sequence in position order. Requires Contains and
  // 0 <= unit < num_units. Valid until the next change of the sequence.
  const std::vector<int32_t>& Blocks(uint64_t sequence_id, int64_t unit) const;

  int64_t used_blocks() const { return used_blocks_; }
  // All ids ever given out lie below this: memory that must exist.
  int64_t ids_in_use() const { return never_used_; }
  int64_t capacity_blocks() const { return capacity_blocks_; }
  int64_t num_sequences() const {
    return static_cast<int64_t>(sequences_.size());
  }

 private:
  struct Sequence {
    int64_t length = 0;                        // positions
    std::vector<std::vector<int32_t>> tables;  // [num_units][blocks]
  };
  int32_t TakeBlock();

  const int64_t num_units_;
  const int64_t capacity_blocks_;
  int64_t used_blocks_ = 0;
  int32_t never_used_ = 0;     // ids from here on were never given out
  std::vector<int32_t> free_;  // returned ids, last one reused first
  absl::flat_hash_map<uint64_t, Sequence> sequences_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_CACHE_KV_BOOK_H_
