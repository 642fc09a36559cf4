// The bytes of a rank's KV blocks.

#ifndef HEADWISE_WORKER_EXECUTOR_BLOCK_STORE_H_
#define HEADWISE_WORKER_EXECUTOR_BLOCK_STORE_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/huge_memory.h"

namespace headwise {

// Blocks of one size. Their ids are dense (KvBook), so memory grows in slabs up
// to the most blocks that were ever in use at once. Reserve is called before a
// step by one thread; Block may then be called by many.
class BlockStore {
 public:
  explicit BlockStore(int64_t block_bytes)
      : block_bytes_(block_bytes),
        slab_blocks_(block_bytes == 0
                         ? 1
                         : std::max<int64_t>(kSlabBytes / block_bytes, 1)) {}

  // Memory for the ids [0, num_blocks); blocks of no bytes need none.
  void Reserve(int64_t num_blocks) {
    if (block_bytes_ == 0) return;
    while (static_cast<int64_t>(slabs_.size()) * slab_blocks_ < num_blocks) {
      slabs_.emplace_back(slab_blocks_ * block_bytes_);
    }
  }
  uint8_t* Block(int32_t id) {
    if (block_bytes_ == 0) return nullptr;
    return slabs_[id / slab_blocks_].data() + id % slab_blocks_ * block_bytes_;
  }
  int64_t block_bytes() const { return block_bytes_; }

 private:
  static constexpr int64_t kSlabBytes = 32 << 20;
  int64_t block_bytes_;
  int64_t slab_blocks_;
  std::vector<HugeMemory> slabs_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_BLOCK_STORE_H_
