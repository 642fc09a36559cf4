// What the executor remembers of each sequence.

#ifndef HEADWISE_WORKER_EXECUTOR_SEQUENCES_H_
#define HEADWISE_WORKER_EXECUTOR_SEQUENCES_H_

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "worker/cache/kv_book.h"
#include "worker/executor/block_store.h"
#include "worker/executor/layer_runner.h"
#include "worker/step/step.h"

namespace headwise {

struct Sequence {
  std::vector<int32_t> tokens;  // all so far, by position
  int32_t last_sample = -1;     // -1: none yet
  BlockTables blocks;           // [units of the rank]
};

// The sequences of one rank and the blocks that hold their KV. Not thread-safe.
class Sequences {
 public:
  Sequences(int64_t num_units, int64_t capacity_blocks, int64_t block_bytes,
            int64_t vocab_size);

  void Free(uint64_t sequence_id);

  // Whether all slices agree with the books and fit. Changes nothing.
  absl::Status Check(const Step& step) const;

  // Adds the slice's rows to its sequence. Requires that Check passed for the
  // step. Returns the tokens of the rows.
  std::vector<int32_t> Append(const Slice& slice);

  Sequence& Get(uint64_t sequence_id) { return sequences_[sequence_id]; }
  const KvBook& book() const { return book_; }

 private:
  absl::Status CheckSlice(const Slice& slice) const;
  void ExtendTables(uint64_t sequence_id, Sequence* sequence);

  const int64_t num_units_;
  const int64_t vocab_size_;
  KvBook book_;
  BlockStore store_;
  absl::flat_hash_map<uint64_t, Sequence> sequences_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_SEQUENCES_H_
