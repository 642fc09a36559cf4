// The bytes of a rank's KV blocks.

#ifndef HEADWISE_WORKER_EXECUTOR_BLOCK_STORE_H_
#define HEADWISE_WORKER_EXECUTOR_BLOCK_STORE_H_

#include <cstdint>
#include <cstring>
#include <vector>

#include "worker/backends/cpu/aligned_buffer.h"

namespace headwise {

// Block ids are dense (KvBook), so memory grows in slabs up to the most blocks
// that were ever in use at once. Reserve is called before a step by one thread;
// Block may then be called by many.
class BlockStore {
 public:
  explicit BlockStore(int64_t block_bytes) : block_bytes_(block_bytes) {}

  // Memory for the ids [0, num_blocks). New blocks are zero: a position that
  // was never written must not be NaN, since it is multiplied by a probability
  // of 0.
  void Reserve(int64_t num_blocks) {
    while (static_cast<int64_t>(slabs_.size()) * kSlabBlocks < num_blocks) {
      const int64_t bytes = kSlabBlocks * block_bytes_;
      AlignedBuffer<uint8_t>& slab = slabs_.emplace_back(bytes);
      std::memset(slab.data(), 0, static_cast<size_t>(bytes));
    }
  }
  uint8_t* Block(int32_t id) {
    return slabs_[id / kSlabBlocks].data() + id % kSlabBlocks * block_bytes_;
  }

 private:
  static constexpr int64_t kSlabBlocks = 64;
  const int64_t block_bytes_;
  std::vector<AlignedBuffer<uint8_t>> slabs_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_BLOCK_STORE_H_
