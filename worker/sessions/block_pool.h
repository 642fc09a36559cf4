// Memory of KV blocks of one size, each with a count of its users.

#ifndef HEADWISE_WORKER_SESSIONS_BLOCK_POOL_H_
#define HEADWISE_WORKER_SESSIONS_BLOCK_POOL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "base/huge_memory.h"

namespace headwise {

// Not thread-safe. Blocks lie in slabs of a huge page; a slab goes back to the
// system with its last block, so that sessions of other sizes can have it.
class BlockPool {
 public:
  // block_bytes: 1 to kSlabBytes.
  explicit BlockPool(int64_t block_bytes) : block_bytes_(block_bytes) {}

  // A block of zeros with one user.
  uint8_t* Take();
  void AddUser(uint8_t* block);
  // The block is free once it has no user.
  void RemoveUser(uint8_t* block);
  int32_t num_users(const uint8_t* block);

  int64_t block_bytes() const { return block_bytes_; }
  int64_t blocks_in_use() const { return blocks_in_use_; }
  int64_t num_slabs() const { return static_cast<int64_t>(slabs_.size()); }
  int64_t blocks_of_slab() const { return kSlabBytes / block_bytes_; }

  static constexpr int64_t kSlabBytes = 2 << 20;

 private:
  struct Slab {
    HugeMemory memory;
    std::vector<int32_t> num_users;  // by block
    std::vector<int32_t> free;
    std::vector<bool> was_used;  // by block: must be cleared
  };

  struct Place {
    uintptr_t base = 0;
    Slab* slab = nullptr;
    int64_t index = 0;
  };
  Place Find(const uint8_t* block);
  void AddSlab();

  const int64_t block_bytes_;
  int64_t blocks_in_use_ = 0;
  std::map<uintptr_t, std::unique_ptr<Slab>> slabs_;  // by address
  std::set<uintptr_t> with_free_;                     // slabs that have some
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_SESSIONS_BLOCK_POOL_H_
