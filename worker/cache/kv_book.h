// Which blocks of a rank's KV cache belong to which sequence and unit.

#ifndef HEADWISE_WORKER_CACHE_KV_BOOK_H_
#define HEADWISE_WORKER_CACHE_KV_BOOK_H_

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/head_plan/head_plan.h"

namespace headwise {

// Positions in one block.
inline constexpr int64_t kKvBlockPositions = 64;

// How one unit of a sequence is stored.
struct UnitStorage {
  UnitPolicy policy;
  int block_class = 0;  // index into KvBookOptions::class_bytes
  // Range i of the context (model/head_plan/context_ranges.h) is on this rank
  // if held_ranges[i % size]; empty: all of it. With a policy that keeps
  // everything, or all false.
  std::vector<bool> held_ranges;

  bool Holds(int64_t block) const;
};

struct KvBookOptions {
  int64_t num_units = 0;             // of the rank
  int64_t capacity_bytes = 0;        // over all of them
  std::vector<int64_t> class_bytes;  // of a block, by class
  int64_t head_dim = 0;
  int64_t heads_per_kv_head = 1;
  // Of every unit of a sequence, beside what its policy takes.
  int64_t unit_state_bytes = 0;
};

// A block whose bytes are to be copied before anything is written.
struct BlockCopy {
  int64_t unit = 0;
  int32_t from = 0;
  int32_t to = 0;
};

// Books only: block ids are integers, dense in each class; the bytes lie
// elsewhere. A sequence has one block table per unit of the rank; a rank
// without units still knows the length of every sequence. What a unit keeps is
// model/head_plan/kv_retention.h's rule. Not thread-safe.
class KvBook {
 public:
  static constexpr int32_t kDropped = -1;  // in a table

  explicit KvBook(const KvBookOptions& options);

  bool Contains(uint64_t sequence_id) const;
  // Positions stored; 0 for an unknown sequence.
  int64_t Length(uint64_t sequence_id) const;

  // A new, empty sequence. `units` has one entry per unit of the rank.
  void Open(uint64_t sequence_id, std::vector<UnitStorage> units,
            int64_t prompt_len);

  // A new sequence that begins with the first `length` positions of another
  // and shares its whole blocks; the last one, if not whole, is in `copies`.
  // FailedPrecondition, naming the unit, and nothing changed, if the source has
  // dropped what `units` needs or stores it otherwise; ResourceExhausted if the
  // copies do not fit.
  absl::StatusOr<std::vector<BlockCopy>> Fork(uint64_t sequence_id,
                                              uint64_t from_sequence_id,
                                              int64_t length,
                                              std::vector<UnitStorage> units,
                                              int64_t prompt_len);

  // A new sequence of `length` positions with blocks for what its units keep of
  // them, as if it had grown and been trimmed here. ResourceExhausted, and
  // nothing changed, if they do not fit.
  absl::Status Restore(uint64_t sequence_id, int64_t length,
                       std::vector<UnitStorage> units, int64_t prompt_len);

  // Bytes that `num_positions` more positions of the sequence take if nothing
  // is dropped meanwhile; and the most that they take if Trim is called after
  // every kRowsBeforeDrop of them.
  int64_t BytesNeeded(uint64_t sequence_id, int64_t num_positions) const;
  int64_t MaxBytesNeeded(uint64_t sequence_id, int64_t num_positions) const;
  // As MaxBytesNeeded, of a sequence that is not open yet.
  int64_t MaxBytesOfNew(const std::vector<UnitStorage>& units,
                        int64_t prompt_len, int64_t num_positions) const;

  // Adds positions to an open sequence. ResourceExhausted with needed and free
  // bytes, and nothing changed, if they do not fit.
  absl::Status Append(uint64_t sequence_id, int64_t num_positions);

  // Drops the blocks that no later query of the sequence sees.
  void Trim(uint64_t sequence_id);

  // Returns the sequence's blocks; no effect if it is unknown.
  void Free(uint64_t sequence_id);

  // Block ids of the sequence in position order, kDropped where there is none.
  // Requires Contains and 0 <= unit < num_units. Valid until the next change of
  // the sequence.
  const std::vector<int32_t>& Blocks(uint64_t sequence_id, int64_t unit) const;
  const std::vector<UnitStorage>& Units(uint64_t sequence_id) const;
  int64_t PromptLen(uint64_t sequence_id) const;

  int64_t used_bytes() const { return used_bytes_; }
  int64_t capacity_bytes() const { return options_.capacity_bytes; }
  // All ids of a class ever given out lie below this: memory that must exist.
  int64_t ids_in_use(int block_class) const {
    return static_cast<int64_t>(pools_[block_class].references.size());
  }
  int64_t num_sequences() const {
    return static_cast<int64_t>(sequences_.size());
  }

 private:
  struct Pool {
    std::vector<int32_t> references;  // by id; how many tables hold it
    std::vector<int32_t> free;        // returned ids, last one reused first
  };
  struct Sequence {
    int64_t length = 0;  // positions
    int64_t prompt_len = 0;
    std::vector<UnitStorage> units;            // [num_units]
    std::vector<std::vector<int32_t>> tables;  // [num_units][blocks]
    std::vector<int64_t> trimmed;  // [num_units] blocks looked at by Trim
    bool shares_blocks = false;    // with a fork or an origin, now or once
  };

  absl::Status CheckFork(const Sequence& source, const Sequence& fork) const;
  int64_t ExtraBytes(const Sequence& sequence, int64_t length) const;
  int64_t FreeBytes() const { return options_.capacity_bytes - used_bytes_; }
  int64_t GrowthBytes(const Sequence& sequence, int64_t num_positions) const;
  int32_t TakeBlock(int block_class);
  void DropBlock(int block_class, int32_t id);

  const KvBookOptions options_;
  int64_t used_bytes_ = 0;
  std::vector<Pool> pools_;  // by class
  absl::flat_hash_map<uint64_t, Sequence> sequences_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_CACHE_KV_BOOK_H_
