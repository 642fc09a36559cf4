// The bytes of a rank's KV blocks.

#ifndef HEADWISE_WORKER_EXECUTOR_BLOCK_STORE_H_
#define HEADWISE_WORKER_EXECUTOR_BLOCK_STORE_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/huge_memory.h"

namespace headwise {

// Where blocks lie that are not in this process's memory. Whoever calls keeps
// only their addresses.
class BlockMemory {
 public:
  virtual ~BlockMemory() = default;
  // Room for all blocks that the capacity allows, of one size.
  virtual uint8_t* data() = 0;
  virtual void Copy(uint8_t* to, const uint8_t* from, int64_t num_bytes) = 0;
};

// Blocks of one size. Their ids are dense (KvBook), so memory grows in slabs up
// to the most blocks that were ever in use at once. Reserve is called before a
// step by one thread; Block may then be called by many.
class BlockStore {
 public:
  // `memory`, if any, outlives the store.
  explicit BlockStore(int64_t block_bytes, BlockMemory* memory = nullptr)
      : memory_(memory),
        block_bytes_(block_bytes),
        slab_blocks_(block_bytes == 0
                         ? 1
                         : std::max<int64_t>(kSlabBytes / block_bytes, 1)) {}

  // Memory for the ids [0, num_blocks); blocks of no bytes need none.
  void Reserve(int64_t num_blocks) {
    if (block_bytes_ == 0 || memory_ != nullptr) return;
    while (static_cast<int64_t>(slabs_.size()) * slab_blocks_ < num_blocks) {
      slabs_.emplace_back(slab_blocks_ * block_bytes_);
    }
  }
  uint8_t* Block(int32_t id) {
    if (block_bytes_ == 0) return nullptr;
    if (memory_ != nullptr) return memory_->data() + id * block_bytes_;
    return slabs_[id / slab_blocks_].data() + id % slab_blocks_ * block_bytes_;
  }
  void Copy(int32_t to, int32_t from) {
    if (memory_ != nullptr) {
      memory_->Copy(Block(to), Block(from), block_bytes_);
    } else if (block_bytes_ > 0) {
      std::memcpy(Block(to), Block(from), static_cast<size_t>(block_bytes_));
    }
  }

 private:
  static constexpr int64_t kSlabBytes = 32 << 20;
  BlockMemory* memory_;
  int64_t block_bytes_;
  int64_t slab_blocks_;
  std::vector<HugeMemory> slabs_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_BLOCK_STORE_H_
